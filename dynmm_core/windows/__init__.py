"""Event time: per-partition clocks, slides per user bucket, their assembly, panes and horizons.

NumPy and Arrow only: never torch, the dataflow engine or a wall clock.
"""
