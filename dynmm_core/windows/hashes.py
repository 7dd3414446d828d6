"""The ids of events as integers: hashed once where they are read, and all that slides are made of from then on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dynmm_core.events.hashing import hash64

_NAMES = ("event_id", "user_id", "item_id")


@dataclass(frozen=True, eq=False)
class EventHashes:
    """The ``hash64`` (n,) uint64 of each event's id, user and item."""

    event: np.ndarray
    user: np.ndarray
    item: np.ndarray

    @classmethod
    def of(cls, events: pa.RecordBatch | pa.Table) -> "EventHashes":
        """Hash the ids of events."""
        return cls(*(hash64(events.column(name)) for name in _NAMES))

    @classmethod
    def joined(cls, parts: Sequence["EventHashes"]) -> "EventHashes":
        """One after the other."""
        return cls(*(np.concatenate(column) for column in zip(*((one.event, one.user, one.item) for one in parts), strict=True)))

    def __getitem__(self, rows: slice | np.ndarray) -> "EventHashes":
        return EventHashes(self.event[rows], self.user[rows], self.item[rows])

    def __len__(self) -> int:
        return len(self.event)
