"""What travels between the steps of a dataflow, and the plain functions that cut it up."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dynmm_core.events.letters import BadEvent
from dynmm_core.windows.buckets import BUCKET_KEYS, split_by_bucket
from dynmm_core.windows.hashes import EventHashes
from dynmm_core.windows.intake import LateEvent, Taken
from dynmm_core.windows.messages import SlideMessage
from dynmm_core.windows.progress import IdleCut, ReadPoint

ADAPT_KEY = "adapt"


@dataclass(frozen=True)
class ReadItem:
    """What a source emits: events that go on, the clock behind them, letters and tally."""

    partition: int
    taken: Taken


@dataclass(frozen=True)
class SummaryItem:
    """A slide's message, and where in the summaries topic it lies; None where no topic carried it.

    ``written_ms``: when its bucket made it, ms UTC.
    """

    message: SlideMessage
    partition: int | None = None
    offset: int | None = None
    written_ms: int | None = None


@dataclass(frozen=True)
class BucketItem:
    """Events of one bucket from one partition, and that partition's clock behind them if it passed a slide."""

    bucket: int
    partition: int
    events: pa.RecordBatch | None
    hashes: EventHashes | None
    closed_through_ms: int | None
    point: ReadPoint | None = None
    cut: IdleCut | None = None

    def __reduce__(self) -> tuple[Callable[..., "BucketItem"], tuple[Any, ...]]:
        # Between processes: pickled slices of a batch would drag the whole batch along, an IPC stream does not.
        events = None if self.events is None or self.hashes is None else _to_stream(self.events, self.hashes)
        return _from_stream, (self.bucket, self.partition, events, self.closed_through_ms, self.point, self.cut)


def _to_stream(events: pa.RecordBatch, hashes: EventHashes) -> bytes:
    """The events with their hashes as three more columns."""
    columns = [*events.columns, *(pa.array(column) for column in (hashes.event, hashes.user, hashes.item))]
    batch = pa.RecordBatch.from_arrays(columns, [*events.schema.names, "", "", ""])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _from_stream(bucket: int, partition: int, stream: bytes | None, *clock: Any) -> BucketItem:
    if stream is None:
        return BucketItem(bucket, partition, None, None, *clock)
    with pa.ipc.open_stream(stream) as reader:
        batch = reader.read_next_batch()
    events = pa.RecordBatch.from_arrays(batch.columns[:-3], batch.schema.names[:-3])
    return BucketItem(bucket, partition, events, EventHashes(*(column.to_numpy() for column in batch.columns[-3:])), *clock)


def route_buckets(item: ReadItem) -> list[tuple[str, BucketItem]]:
    """Events to their buckets; a clock that passed a slide goes to every bucket, in the item of the events that moved it."""
    taken = item.taken
    clock = (taken.closed_through_ms, taken.point, taken.cut)
    parts: dict[int, tuple[pa.RecordBatch | None, EventHashes | None]] = {}
    if taken.closed_through_ms is not None:
        parts = dict.fromkeys(range(len(BUCKET_KEYS)), (None, None))
    if taken.events is not None and taken.hashes is not None:
        parts |= {bucket: (events, hashes) for bucket, events, hashes in split_by_bucket(taken.events, taken.hashes)}
    return [(BUCKET_KEYS[bucket], BucketItem(bucket, item.partition, *part, *clock)) for bucket, part in sorted(parts.items())]


def pick_late(item: ReadItem) -> list[tuple[str, LateEvent]]:
    """The late events of an item, keyed for the sink."""
    return [("late", late) for late in item.taken.late]


def pick_dead(item: ReadItem) -> list[tuple[str, BadEvent]]:
    """The dead letters of an item, keyed for the sink."""
    return [("dead", dead) for dead in item.taken.dead]


def key_adapt(message: tuple[str, SlideMessage]) -> tuple[str, SummaryItem]:
    """All buckets' messages under the one key of adapt."""
    return ADAPT_KEY, SummaryItem(message[1], written_ms=time.time_ns() // 1_000_000)
