"""Drift suspected while a stream runs: a slide's facts become signals, signals are compared with what they were at the same
time of day, and River's detectors judge what is left.

All of it is a function of the facts alone, so that whoever feeds the same facts again gets the same alarms. River, with SciPy
behind it, takes over a second to import: `detectors` does so when the first value is judged, and nothing else here does.
"""
