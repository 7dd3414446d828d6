"""A schedule with every kind of drift at once, and the size of its stream."""

from simulators.settings import StreamSettings

# Everything at once: a user class of its own for each scope, a mixture under way, noise, a cohort, births and deaths.
EVERYTHING = """
[[drift]]
id = "first"
kind = "abrupt"
start = 0.1
magnitude = 0.7
items = 0.5
[[drift]]
kind = "gradual"
start = 0.2
end = 0.5
segments = [1, 2]
[[drift]]
kind = "incremental"
start = 0.5
end = 0.7
topics = [0, 1, 2]
[[drift]]
kind = "recurring"
start = 0.72
end = 0.98
period = 0.08
[[drift]]
kind = "popularity_burst"
start = 0.3
end = 0.4
items = 0.02
magnitude = 0.5
[[drift]]
kind = "item_birth"
start = 0.4
end = 0.6
items = 0.1
magnitude = 0.4
[[drift]]
kind = "item_death"
start = 0.5
items = 0.2
[[drift]]
kind = "cohort_shift"
start = 0.6
segments = [0]
magnitude = 0.8
[[drift]]
kind = "cohort_shift"
start = 0.8
users = 0.5
magnitude = 0.5
[[drift]]
kind = "label_noise"
start = 0.2
end = 0.9
users = 0.6
magnitude = 0.3
"""
SETTINGS = StreamSettings(seed=5, events=60_000, users=900, items=300, online_hours=48, topics=12)
