"""Where a message came from, what decoding makes of it, and the letter written for one that is no event."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_MOST_REASON = 400  # characters


@dataclass(frozen=True)
class Origin:
    """The place of a run of messages in the log: ``offsets`` has one entry per message, ascending."""

    topic: str
    partition: int
    offsets: Sequence[int]

    def event_id(self, index: int) -> str:
        """The id of the ``index``-th message's event where the producer gave none."""
        return f"{self.topic}/{self.partition}/{self.offsets[index]}"


@dataclass(frozen=True)
class BadEvent:
    """A dead letter: a message that is no usable event, as it came, and the reason (``field: what is wrong``).

    A reason of more than 400 characters is cut, and says so. ``row``: which event of its message it is, from 0 on; None where
    that has no other, or is a letter as a whole.
    """

    reason: str
    raw: bytes
    topic: str
    partition: int
    offset: int
    row: int | None = None

    def __post_init__(self) -> None:
        if len(self.reason) > _MOST_REASON:
            # It goes into a header, and tells what a sender wrote: names and values of any length.
            object.__setattr__(self, "reason", f"{self.reason[:_MOST_REASON]} (cut; {len(self.reason)} characters)")


@dataclass(frozen=True)
class Decoded:
    """Usable events in log order, the offset of each (n,) int64, and the dead letters between them.

    ``rows`` (n,) int64: which of its message's events each is, -1 where that has no other; None where that holds for all.
    """

    events: pa.RecordBatch
    offsets: np.ndarray
    bad: tuple[BadEvent, ...]
    rows: np.ndarray | None = None

    def only(self, kept: np.ndarray) -> "Decoded":
        """Return the ``kept`` events (n,) bool, and no letter."""
        rows = None if self.rows is None else self.rows[kept]
        return Decoded(self.events.filter(pa.array(kept)), self.offsets[kept], (), rows)

    def rows_of(self, some: np.ndarray) -> list[int | None]:
        """Return for ``some`` events, as NumPy picks them, which of its message's each is; None where that has no other."""
        if self.rows is None:
            return [None] * len(self.offsets[some])
        return [None if row < 0 else row for row in self.rows[some].tolist()]
