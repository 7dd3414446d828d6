"""Where a message came from, what decoding makes of it, and the letter written for one that is no event."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa


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
    """A dead letter: a message that is no usable event, as it came, and the reason (``field: what is wrong``)."""

    reason: str
    raw: bytes
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Decoded:
    """Usable events in log order, the offset of each (n,) int64, and the dead letters between them."""

    events: pa.RecordBatch
    offsets: np.ndarray
    bad: tuple[BadEvent, ...]
