"""Logs of interactions: reading and checking a user's tables, the prepared log that everything else reads,
fetching public sets.

Knows nothing of models, windows or dataflows. Other packages import `prepared`; the rest serves the `dynmm
data` commands.
"""
