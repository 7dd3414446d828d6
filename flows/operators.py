"""Plain functions and keyed logics that the dataflows are made of."""

import importlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from bytewax.operators import StatefulBatchLogic

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.events.letters import BadEvent
from dynmm_core.windows.buckets import BUCKET_KEYS, split_by_bucket
from dynmm_core.windows.intake import LateEvent, PartitionTally
from dynmm_core.windows.messages import SlideMessage
from dynmm_core.windows.shard import ShardWindow
from dynmm_core.windows.slides import SlideAssembler
from flows.config import FlowConfig
from flows.process import FlowProcess, Report
from flows.sources import ReadItem, rows_to_read

ADAPT_KEY = "adapt"


@dataclass(frozen=True)
class BucketItem:
    """Events of one bucket from one partition, and that partition's clock behind them if it passed a slide."""

    bucket: int
    partition: int
    events: pa.RecordBatch | None
    closed_through_ms: int | None

    def __reduce__(self) -> tuple[Callable[..., "BucketItem"], tuple[Any, ...]]:
        # Between processes: pickled slices of a batch would drag the whole batch along, an IPC stream does not.
        events = None if self.events is None else _to_stream(self.events)
        return _from_stream, (self.bucket, self.partition, events, self.closed_through_ms)


def _to_stream(events: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, events.schema) as writer:
        writer.write_batch(events)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _from_stream(bucket: int, partition: int, events: bytes | None, closed_through_ms: int | None) -> BucketItem:
    if events is None:
        return BucketItem(bucket, partition, None, closed_through_ms)
    with pa.ipc.open_stream(events) as reader:
        return BucketItem(bucket, partition, reader.read_next_batch(), closed_through_ms)


def route_buckets(item: ReadItem) -> list[tuple[str, BucketItem]]:
    """Events to their buckets; a clock that passed a slide goes to every bucket, in the item of the events that moved it."""
    taken = item.taken
    events = dict(split_by_bucket(taken.events, item.buckets)) if taken.events is not None else {}
    buckets: Iterable[int] = events if taken.closed_through_ms is None else range(len(BUCKET_KEYS))
    return [
        (BUCKET_KEYS[bucket], BucketItem(bucket, item.partition, events.get(bucket), taken.closed_through_ms))
        for bucket in buckets
    ]


def pick_late(item: ReadItem) -> list[tuple[str, LateEvent]]:
    """The late events of an item, keyed for the sink."""
    return [("late", late) for late in item.taken.late]


def pick_dead(item: ReadItem) -> list[tuple[str, BadEvent]]:
    """The dead letters of an item, keyed for the sink."""
    return [("dead", dead) for dead in item.taken.dead]


def pick_tally(item: ReadItem) -> list[PartitionTally]:
    """The partition's tally, cumulative: often enough when its clock moves."""
    return [item.taken.tally] if item.taken.closed_through_ms is not None else []


def key_adapt(message: tuple[str, SlideMessage]) -> tuple[str, SlideMessage]:
    """All buckets' messages under the one key of adapt."""
    return ADAPT_KEY, message[1]


class SummarizeLogic(StatefulBatchLogic[BucketItem, SlideMessage, None]):
    """One bucket's window inside the engine, which tells a logic no key: the first item names the bucket."""

    def __init__(self, config: FlowConfig, process: FlowProcess) -> None:
        self._config = config
        self._window: ShardWindow | None = None
        self._step = process.guarded(self._summarize)

    def on_batch(self, values: list[BucketItem]) -> tuple[list[SlideMessage], bool]:
        """Take in events, then the clock of the same item."""
        return self._step(values), StatefulBatchLogic.RETAIN

    def snapshot(self) -> None:
        """None: see LogPartition.snapshot."""

    def _summarize(self, values: list[BucketItem]) -> list[SlideMessage]:
        if self._window is None:
            shard, partitions = BUCKET_KEYS[values[0].bucket], range(self._config.partitions)
            self._window = ShardWindow(self._config.run_name, shard, partitions, self._config.slide_ms)
        messages: list[SlideMessage] = []
        for item in values:
            if item.events is not None:
                self._window.add(item.events)
            if item.closed_through_ms is not None:
                messages.extend(self._window.advance(item.partition, item.closed_through_ms))
        return messages


class AdaptLogic(StatefulBatchLogic[SlideMessage, Report, None]):
    """The assembler and the engine inside the dataflow: complete slides are ranked, learned from and committed in order."""

    def __init__(self, config: FlowConfig, process: FlowProcess) -> None:
        self._config, self._process = config, process
        self._assembler = SlideAssembler(config.run_name, BUCKET_KEYS, config.slide_ms)
        self._engine: Any = None
        self._bar: Callable[[Report], None] = _no_bar
        self._step = process.guarded(self._adapt)

    def on_batch(self, values: list[SlideMessage]) -> tuple[list[Report], bool]:
        """Take in chunks and markers; every slide that completes goes through the engine at once."""
        return self._step(values), StatefulBatchLogic.RETAIN

    def snapshot(self) -> None:
        """None: the store's head is the truth of how far adapt got."""

    def _adapt(self, values: list[SlideMessage]) -> list[Report]:
        reports: list[Report] = []
        for message in values:
            for slide in self._assembler.add(message):
                if self._engine is None:
                    self._engine = open_engine(self._config)
                    self._bar = open_bar(self._config, self._process)
                report: Report = self._engine.on_slide(slide)
                self._bar(report)
                reports.append(report)
        return reports


def open_engine(config: FlowConfig) -> Any:
    """The engine that the config names, opened; only here does a process import what learns."""
    module, _, function = config.engine.partition(":")
    return getattr(importlib.import_module(module), function)(config.adapt)


def open_bar(config: FlowConfig, process: FlowProcess) -> Callable[[Report], None]:
    """A progress bar over the events of the run, closed with the process's part; what it returns advances it by a report."""
    if not config.progress:
        return _no_bar
    from dynmm_core.console import progress

    start, end = rows_to_read(PreparedLog.open(config.data), config)
    stack = ExitStack()
    bar = stack.enter_context(progress(config.run_name, end - start))
    process.at_end(stack.close)
    return lambda report: bar.advance(report.events, version=report.version)


def _no_bar(report: Report) -> None:
    return
