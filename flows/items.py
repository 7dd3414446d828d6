"""What travels between the steps of a dataflow, and the plain functions that cut it up."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dynmm_core.events.letters import BadEvent
from dynmm_core.windows.buckets import BUCKET_KEYS, split_by_bucket
from dynmm_core.windows.intake import LateEvent, Taken
from dynmm_core.windows.messages import SlideMessage
from dynmm_core.windows.progress import IdleCut, ReadPoint

ADAPT_KEY = "adapt"


@dataclass(frozen=True)
class ReadItem:
    """What a source emits: events that go on with their buckets (n,), the clock behind them, letters and tally."""

    partition: int
    taken: Taken
    buckets: np.ndarray


@dataclass(frozen=True)
class SummaryItem:
    """A slide's message, and where in the summaries topic it lies; None where no topic carried it."""

    message: SlideMessage
    partition: int | None = None
    offset: int | None = None


@dataclass(frozen=True)
class BucketItem:
    """Events of one bucket from one partition, and that partition's clock behind them if it passed a slide."""

    bucket: int
    partition: int
    events: pa.RecordBatch | None
    closed_through_ms: int | None
    point: ReadPoint | None = None
    cut: IdleCut | None = None

    def __reduce__(self) -> tuple[Callable[..., "BucketItem"], tuple[Any, ...]]:
        # Between processes: pickled slices of a batch would drag the whole batch along, an IPC stream does not.
        events = None if self.events is None else _to_stream(self.events)
        return _from_stream, (self.bucket, self.partition, events, self.closed_through_ms, self.point, self.cut)


def _to_stream(events: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, events.schema) as writer:
        writer.write_batch(events)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _from_stream(bucket: int, partition: int, events: bytes | None, *clock: Any) -> BucketItem:
    if events is None:
        return BucketItem(bucket, partition, None, *clock)
    with pa.ipc.open_stream(events) as reader:
        return BucketItem(bucket, partition, reader.read_next_batch(), *clock)


def route_buckets(item: ReadItem) -> list[tuple[str, BucketItem]]:
    """Events to their buckets; a clock that passed a slide goes to every bucket, in the item of the events that moved it."""
    taken = item.taken
    events = dict(split_by_bucket(taken.events, item.buckets)) if taken.events is not None else {}
    buckets: Iterable[int] = events if taken.closed_through_ms is None else range(len(BUCKET_KEYS))
    return [
        (
            BUCKET_KEYS[bucket],
            BucketItem(bucket, item.partition, events.get(bucket), taken.closed_through_ms, taken.point, taken.cut),
        )
        for bucket in buckets
    ]


def pick_late(item: ReadItem) -> list[tuple[str, LateEvent]]:
    """The late events of an item, keyed for the sink."""
    return [("late", late) for late in item.taken.late]


def pick_dead(item: ReadItem) -> list[tuple[str, BadEvent]]:
    """The dead letters of an item, keyed for the sink."""
    return [("dead", dead) for dead in item.taken.dead]


def key_adapt(message: tuple[str, SlideMessage]) -> tuple[str, SummaryItem]:
    """All buckets' messages under the one key of adapt."""
    return ADAPT_KEY, SummaryItem(message[1])
