"""The clock of one partition: which of its events are late, and through which slide it has passed."""

from dataclasses import dataclass

import numpy as np

NEVER_MS = -(1 << 62)
DRAINED_MS = 1 << 62


@dataclass(frozen=True)
class Reading:
    """What a run of events did: ``late`` (n,) bool, and the clock behind them; ``passed`` if it passed a slide."""

    late: np.ndarray
    closed_through_ms: int
    passed: bool


class PartitionClock:
    """Decides lateness from this partition's own log, so that reading pace and other partitions cannot change it.

    An event is late iff its slide ended at or before (newest event time before it in this partition) - ``allowed_lateness_ms``.
    ``closed_through_ms`` is the end of the newest slide for which every further event would be late.
    """

    def __init__(self, slide_ms: int, allowed_lateness_ms: int) -> None:
        self._slide_ms = slide_ms
        self._allowed_lateness_ms = allowed_lateness_ms
        self.newest_ms = NEVER_MS
        self.closed_through_ms = NEVER_MS

    def read(self, event_time_ms: np.ndarray) -> Reading:
        """Take in the next events (n,) int64 in log order."""
        if not len(event_time_ms):
            return Reading(np.zeros(0, bool), self.closed_through_ms, False)
        newest = np.maximum.accumulate(np.concatenate(([self.newest_ms], event_time_ms)))
        slide_end_ms = (event_time_ms // self._slide_ms + 1) * self._slide_ms
        late = slide_end_ms <= newest[:-1] - self._allowed_lateness_ms
        self.newest_ms = int(newest[-1])
        return Reading(late, *self._pass_through(self.newest_ms - self._allowed_lateness_ms))

    def drain(self) -> Reading:
        """The partition has ended: every slide is closed for it."""
        return Reading(np.zeros(0, bool), *self._pass_through(DRAINED_MS))

    def _pass_through(self, limit_ms: int) -> tuple[int, bool]:
        through = DRAINED_MS if limit_ms == DRAINED_MS else limit_ms // self._slide_ms * self._slide_ms
        passed = through > self.closed_through_ms
        self.closed_through_ms = max(self.closed_through_ms, through)
        return self.closed_through_ms, passed
