"""The first half of the dataflow: a log in, chunks and end markers of every user bucket's slides out."""

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.operators import KeyedStream

from dynmm_core.windows.messages import EndMarker, SlideMessage
from flows.config import FlowConfig
from flows.operators import BucketItem, SummarizeLogic, pick_dead, pick_late, pick_tally, route_buckets
from flows.process import FlowProcess
from flows.sinks import CollectSink, JsonLinesSink, late_as_json, letter_as_json
from flows.sources import ParquetLogSource, ReadItem


def add_summarize(flow: Dataflow, config: FlowConfig, process: FlowProcess) -> KeyedStream[SlideMessage]:
    """Add the steps from the log to the slides' messages, keyed by bucket."""
    read: Stream[ReadItem] = op.input("read_log", flow, ParquetLogSource(config, process))
    routed: KeyedStream[BucketItem] = op.flat_map("route_buckets", read, process.guarded(route_buckets))
    messages = op.stateful_batch("summarize_slides", routed, lambda _: SummarizeLogic(config, process))
    _write_letters(read, config, process)
    tallies = op.flat_map("pick_tallies", read, process.guarded(pick_tally))
    markers = op.flat_map("pick_markers", messages, process.guarded(_pick_marker))
    accounts = op.merge("merge_accounts", tallies, markers)
    op.output("count_events", accounts, CollectSink(process.ledger.note, process))
    return messages


def _write_letters(read: Stream[ReadItem], config: FlowConfig, process: FlowProcess) -> None:
    late = op.flat_map("pick_late", read, process.guarded(pick_late))
    op.output("write_late", late, JsonLinesSink(config.run_dir / "late_events.jsonl", late_as_json, process))
    dead = op.flat_map("pick_dead", read, process.guarded(pick_dead))
    op.output("write_dead", dead, JsonLinesSink(config.run_dir / "dead_letters.jsonl", letter_as_json, process))


def _pick_marker(message: tuple[str, SlideMessage]) -> list[EndMarker]:
    return [message[1]] if isinstance(message[1], EndMarker) else []
