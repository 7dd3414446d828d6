"""One slide's work: rank with the last version, learn, refresh, commit. A state machine without an engine.

What lives here sees slides in order and knows the model, the store and the baselines; it knows no dataflow, no file format
of a log and no wall clock.
"""
