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

    An event is late iff its slide ended at or before (newest event time before it in this partition) - ``allowed_lateness_ms``,
    or at or before ``floor_ms``, which recorded idle cuts raise. ``closed_through_ms`` is the end of the newest slide for which
    every further event would be late.
    """

    def __init__(self, slide_ms: int, allowed_lateness_ms: int, newest_ms: int = NEVER_MS, floor_ms: int = NEVER_MS) -> None:
        self._slide_ms = slide_ms
        self._allowed_lateness_ms = allowed_lateness_ms
        self.newest_ms = newest_ms
        self.floor_ms = floor_ms
        self.closed_through_ms = NEVER_MS
        if newest_ms != NEVER_MS or floor_ms != NEVER_MS:
            self._pass_through()

    def limits_ms(self, event_time_ms: np.ndarray) -> np.ndarray:
        """For each of the next events (n,) the end (n,) of slides that have closed when it is read."""
        newest = np.maximum.accumulate(np.concatenate(([self.newest_ms], event_time_ms[:-1])))
        limits: np.ndarray = np.maximum(newest - self._allowed_lateness_ms, self.floor_ms)
        return limits

    def read(self, event_time_ms: np.ndarray) -> Reading:
        """Take in the next events (n,) int64 in log order."""
        if not len(event_time_ms):
            return Reading(np.zeros(0, bool), self.closed_through_ms, False)
        newest_ms = max(self.newest_ms, int(event_time_ms.max()))
        limit_ms = max(newest_ms - self._allowed_lateness_ms, self.floor_ms)
        if (int(event_time_ms.min()) // self._slide_ms + 1) * self._slide_ms > limit_ms:
            late = np.zeros(len(event_time_ms), bool)  # not even the oldest would be late behind the newest
        else:
            slide_end_ms = (event_time_ms // self._slide_ms + 1) * self._slide_ms
            late = slide_end_ms <= self.limits_ms(event_time_ms)
        self.newest_ms = newest_ms
        return Reading(late, *self._pass_through())

    def advance_to(self, closed_through_ms: int) -> Reading:
        """Apply an idle cut: slides that end by ``closed_through_ms`` are closed from here on."""
        self.floor_ms = max(self.floor_ms, closed_through_ms)
        return Reading(np.zeros(0, bool), *self._pass_through())

    def drain(self) -> Reading:
        """The partition has ended: every slide is closed for it."""
        return self.advance_to(DRAINED_MS)

    def _pass_through(self) -> tuple[int, bool]:
        limit_ms = max(self.newest_ms - self._allowed_lateness_ms, self.floor_ms)
        through = DRAINED_MS if limit_ms == DRAINED_MS else limit_ms // self._slide_ms * self._slide_ms
        passed = through > self.closed_through_ms
        self.closed_through_ms = max(self.closed_through_ms, through)
        return self.closed_through_ms, passed
