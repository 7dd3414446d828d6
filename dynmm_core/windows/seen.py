"""What a partition has read lately, so that a late event that came before is known as a duplicate."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dynmm_core.events.hashing import hash64

_SLIDE_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class _Batch:
    newest_slide: int
    events: pa.RecordBatch | None
    keys: np.ndarray | None = None


class RecentIds:
    """The events of recent slides by (slide, user_id, event_id), from the partition's own log alone.

    They are hashed only when a late event asks: in a log in order none ever does.
    """

    def __init__(self, slide_ms: int) -> None:
        self._slide_ms = slide_ms
        self._batches: deque[_Batch] = deque()

    def repeated(self, events: pa.RecordBatch, asked: np.ndarray) -> np.ndarray:
        """Remember the events; return which of the ``asked`` ones (n,) bool came before."""
        newest_slide = int(events.column("event_time_ms").to_numpy().max()) // self._slide_ms
        self._batches.append(_Batch(newest_slide, events))
        if not asked.any():
            return asked
        keys = np.concatenate([self._keys(batch) for batch in self._batches])
        here = len(keys) - events.num_rows
        rows = np.flatnonzero(np.isin(keys, keys[here:][asked]))
        first = rows[np.unique(keys[rows], return_index=True)[1]]
        repeated = np.ones(len(keys), bool)
        repeated[first] = False
        repeated = repeated[here:]
        repeated &= asked
        return repeated

    def forget(self, ended_by_ms: int) -> None:
        """Slides that end at or before this time will not be asked for again."""
        while self._batches and (self._batches[0].newest_slide + 1) * self._slide_ms <= ended_by_ms:
            self._batches.popleft()

    def _keys(self, batch: _Batch) -> np.ndarray:
        if batch.keys is None:
            assert batch.events is not None
            slides = (batch.events.column("event_time_ms").to_numpy() // self._slide_ms).astype(np.uint64)
            ids = hash64(batch.events.column("event_id")) * np.uint64(3) + hash64(batch.events.column("user_id"))
            batch.keys, batch.events = ids + slides * _SLIDE_STEP, None
        return batch.keys
