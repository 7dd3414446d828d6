"""The events of the last days, as they came."""

from collections import deque

import numpy as np

from dynmm_core.baselines.contract import Facts
from dynmm_core.times import DAY_MS


class EventWindow:
    """Events of the last ``window_ms`` before the end of the last slide, in canonical order."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._blocks: deque[np.ndarray] = deque()

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide, and let go of what has become too old."""
        if len(facts.item_idx):
            self._blocks.append(np.stack([facts.user_idx, facts.item_idx, facts.event_time_ms]))
        oldest_ms = facts.slide_end_ms - self._window_ms
        while self._blocks and self._blocks[0][2, -1] < oldest_ms:
            self._blocks.popleft()
        if self._blocks:
            self._blocks[0] = self._blocks[0][:, np.searchsorted(self._blocks[0][2], oldest_ms) :]

    def events(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (user_idx (n,), item_idx (n,)) of the events there are."""
        every = np.concatenate([np.zeros((3, 0), np.int64), *self._blocks], axis=1)
        return every[0], every[1]


class Daily:
    """Tells once for each day of event time, at its first slide's end, that it has begun; days begin at 00:00 UTC."""

    def __init__(self) -> None:
        self._day: int | None = None

    def begin(self, as_of_ms: int) -> None:
        """Start counting: the day of this moment has begun."""
        self._day = as_of_ms // DAY_MS

    def due(self, slide_end_ms: int) -> bool:
        """Return whether a day has begun since the last slide; never before :meth:`begin`."""
        if self._day is None or slide_end_ms // DAY_MS == self._day:
            return False
        self._day = slide_end_ms // DAY_MS
        return True
