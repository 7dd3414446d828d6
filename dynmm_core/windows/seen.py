"""What a partition has read lately, so that a late event that came before is known as a duplicate."""

from collections import deque

import numpy as np

from dynmm_core.windows.hashes import EventHashes

_SLIDE_STEP = np.uint64(0x9E3779B97F4A7C15)


class RecentIds:
    """The events of recent slides by (slide, user_id, event_id), from the partition's own log alone: 8 bytes each."""

    def __init__(self, slide_ms: int) -> None:
        self._slide_ms = slide_ms
        self._batches: deque[tuple[int, np.ndarray]] = deque()  # (newest slide, keys)

    def repeated(self, event_time_ms: np.ndarray, hashes: EventHashes, asked: np.ndarray) -> np.ndarray:
        """Remember events, at least one; return which of the ``asked`` ones (n,) bool came before."""
        slides = event_time_ms // self._slide_ms
        here = hashes.event * np.uint64(3) + hashes.user + slides.astype(np.uint64) * _SLIDE_STEP
        self._batches.append((int(slides.max()), here))
        if not asked.any():
            return asked
        keys = np.concatenate([keys for _, keys in self._batches])
        rows = np.flatnonzero(np.isin(keys, here[asked]))
        first = rows[np.unique(keys[rows], return_index=True)[1]]
        repeated = np.ones(len(keys), bool)
        repeated[first] = False
        repeated = repeated[len(keys) - len(here) :]
        repeated &= asked
        return repeated

    def forget(self, ended_by_ms: int) -> None:
        """Slides that end at or before this time will not be asked for again."""
        while self._batches and (self._batches[0][0] + 1) * self._slide_ms <= ended_by_ms:
            self._batches.popleft()
