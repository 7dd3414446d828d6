"""The three dataflows on Kafka: summarize, adapt, and both in one."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.operators import KeyedStream

from dynmm_core.crash_points import crash_point
from dynmm_core.windows.buckets import BUCKET_KEYS
from dynmm_core.windows.messages import EndMarker, SlideMessage
from dynmm_core.windows.progress import IdleCut, RunProgress
from dynmm_core.windows.shard import ShardWindow
from dynmm_core.windows.slides import SlideAssembler
from flows.adapt import add_adapt
from flows.items import ReadItem, SummaryItem, key_adapt
from flows.kafka.interactions import InteractionsSource, ReadPace
from flows.kafka.plan import FlowPlan, ReadPlan
from flows.kafka.process import LiveProcess
from flows.kafka.sinks import TopicSink
from flows.kafka.summaries import SummariesSource
from flows.kafka.wire import Record, record_of
from flows.live.adapting import LiveAdapt
from flows.live.config import LiveConfig
from flows.live.recovery import RecoveryFolder
from flows.summarize import add_summarize


def build(config: LiveConfig, plan: FlowPlan, process: LiveProcess) -> Dataflow:
    """The dataflow that ``config.kind`` names."""
    flow = Dataflow(config.kind)
    if config.kind == "adapt":
        assert plan.summaries is not None
        source = SummariesSource(config.kafka, config.stream.run, config.stream.slide_ms, plan.summaries, process)
        summaries: KeyedStream[SummaryItem] = op.input("read_summaries", flow, source)
        _add_adapt(summaries, config, plan, plan.summaries.progress, process)
        return flow
    assert plan.interactions is not None
    folder = RecoveryFolder(config.recovery)
    messages = _add_summarize(flow, config, plan.interactions, folder, process)
    if config.kind == "summarize":
        to_record = partial(_summary_record, slide_ms=config.stream.slide_ms, partitions=plan.summaries_partitions)
        sink = TopicSink(config.kafka, config.kafka.summaries, to_record, process, folder.settle, folder.note_told)
        op.output("write_summaries", messages, sink)
        return flow
    keyed: KeyedStream[SummaryItem] = op.flat_map("key_adapt", messages, _settled(folder, process))
    _add_adapt(keyed, config, plan, plan.interactions.progress, process, folder)
    return flow


def _add_summarize(
    flow: Dataflow, config: LiveConfig, plan: ReadPlan, folder: RecoveryFolder, process: LiveProcess
) -> KeyedStream[SlideMessage]:  # fmt: skip
    pace = ReadPace(config.batch_size, config.stream.idle_after_ms)
    source = InteractionsSource(config.kafka, plan, config.stream.reading, pace, process)
    read: Stream[ReadItem] = op.input("read_interactions", flow, source)
    return add_summarize(read, _windows(config, plan, folder), process, folder.keep)


def _settled(
    folder: RecoveryFolder, process: LiveProcess
) -> Callable[[tuple[str, SlideMessage]], list[tuple[str, SummaryItem]]]:  # fmt: skip
    """Hands messages to adapt, which may be in another process: what a marker names is put on disk in the one that keeps it."""

    def settle(keyed: tuple[str, SlideMessage]) -> list[tuple[str, SummaryItem]]:
        if isinstance(keyed[1], EndMarker):
            folder.settle()
        return [key_adapt(keyed)]

    return process.guarded(settle)


def _windows(config: LiveConfig, plan: ReadPlan, folder: RecoveryFolder) -> Callable[[int], ShardWindow]:
    """Opens a bucket's window where the run goes on."""
    resumed, told = plan.progress, [IdleCut(*cut) for cut in plan.cuts]

    def open_window(bucket: int) -> ShardWindow:
        shard = BUCKET_KEYS[bucket]
        if resumed is None:
            return ShardWindow(config.stream.run, shard, plan.partitions, config.stream.shards, told=told)
        crash_point("during-resume")
        progress = replace(resumed.shards[shard], points=resumed.points, cuts=resumed.cuts)
        tails = None if progress.tails is None else folder.load(shard, progress.tails)
        return ShardWindow(
            config.stream.run, shard, plan.partitions, config.stream.shards, resumed.through_ms, progress, tails, told
        )  # fmt: skip

    return open_window


def _add_adapt(
    summaries: KeyedStream[SummaryItem], config: LiveConfig, plan: FlowPlan, resumed: RunProgress | None, process: LiveProcess,
    folder: RecoveryFolder | None = None,
) -> None:  # fmt: skip
    assembler = SlideAssembler(
        config.stream.run, BUCKET_KEYS, config.stream.slide_ms, config.stream.max_train_events, resumed
    )  # fmt: skip
    add_adapt(summaries, LiveAdapt(config, plan, assembler, process, folder), process)


def _summary_record(message: SlideMessage, slide_ms: int, partitions: int) -> Record:
    # A bucket stays in one partition, so that its messages keep their order.
    return record_of(message, slide_ms, BUCKET_KEYS.index(message.shard) % partitions)
