"""The library: events, windows, model, store.

Knows neither the dataflow engine nor the broker; time and randomness are arguments.
"""
