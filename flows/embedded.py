"""summarize and adapt in one dataflow over a prepared log, joined by the very messages that a broker would carry."""

from collections.abc import Callable
from contextlib import ExitStack

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.operators import KeyedStream

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.windows.buckets import BUCKET_KEYS
from dynmm_core.windows.shard import ShardSettings, ShardWindow
from dynmm_core.windows.slides import SlideAssembler
from flows.adapt import add_adapt
from flows.config import FlowConfig
from flows.items import ReadItem, SummaryItem, key_adapt, pick_dead, pick_late
from flows.job import OnFailure
from flows.logics import Adapt
from flows.process import FlowProcess, Report
from flows.sinks import JsonLinesSink, late_as_json, letter_as_json
from flows.sources import ParquetLogSource, rows_to_read
from flows.summarize import add_summarize


def build(config: FlowConfig, process: FlowProcess | None = None) -> Dataflow:
    """The dataflow of a bounded replay; ``process`` gathers its failure, accounts and progress."""
    process = process or FlowProcess()
    flow = Dataflow("embedded")
    read: Stream[ReadItem] = op.input("read_log", flow, ParquetLogSource(config, process))
    messages = add_summarize(read, _windows(config), process)
    _write_letters(read, config, process)
    keyed: KeyedStream[SummaryItem] = op.map("key_adapt", messages, key_adapt)
    assembler = SlideAssembler(config.run_name, BUCKET_KEYS, config.slide_ms, config.max_train_events)
    adapt = Adapt(config.engine, config.adapt, assembler, process, lambda: open_bar(config, process))
    add_adapt(keyed, adapt, process)
    return flow


def open_flow(document: str, number: int, on_failure: OnFailure | None) -> tuple[FlowProcess, Dataflow]:
    """The dataflow of a process that knows its configuration as JSON."""
    process = FlowProcess(number, on_failure)
    return process, build(FlowConfig.model_validate_json(document), process)


def _windows(config: FlowConfig) -> Callable[[int], ShardWindow]:
    settings = ShardSettings(config.slide_ms, config.max_train_events)
    return lambda bucket: ShardWindow(config.run_name, BUCKET_KEYS[bucket], range(config.partitions), settings)


def _write_letters(read: Stream[ReadItem], config: FlowConfig, process: FlowProcess) -> None:
    late = op.flat_map("pick_late", read, process.guarded(pick_late))
    op.output("write_late", late, JsonLinesSink(config.run_dir / "late_events.jsonl", late_as_json, process))
    dead = op.flat_map("pick_dead", read, process.guarded(pick_dead))
    op.output("write_dead", dead, JsonLinesSink(config.run_dir / "dead_letters.jsonl", letter_as_json, process))


def open_bar(config: FlowConfig, process: FlowProcess) -> Callable[[Report], None]:
    """A progress bar over the events of the run, closed with the process's part; what it returns advances it by a report."""
    if not config.progress:
        return lambda report: None
    from dynmm_core.console import progress

    start, end = rows_to_read(PreparedLog.open(config.data), config)
    stack = ExitStack()
    bar = stack.enter_context(progress(config.run_name, end - start))
    process.at_end(stack.close)
    return lambda report: bar.advance(report.events, version=report.version)
