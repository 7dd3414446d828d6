"""A replay through a broker: the log is sent to a topic of its own, and the live dataflow makes the versions from there."""

import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.memory import own_peak_mb, reset_peak
from dynmm_core.store.latents import LatentStore
from flows.config import FlowConfig
from flows.live.config import LiveConfig, StreamSettings
from flows.live.run import run_live
from flows.observe.logs import configure_logs
from flows.process import FlowResult
from flows.sources import rows_to_read
from replay.config import ReplaySettings
from replay.feed import Ends, Feed, FeedTask
from replay.files import write_atomically
from replay.following import following
from replay.run_folder import ACCOUNTING_FILE, RunFolder
from replay.streaming import Workers, flow_config
from replay.topics import ReplayTopics
from replay.wire import Wire

_FROM_FILE = "the same command without --via-kafka finishes it from the file, with the same versions"


def prepare_topics(wire: Wire, log: PreparedLog, settings: ReplaySettings, out: Path, workers: Workers) -> ReplayTopics:
    """Return the run's topics, not made yet, after everything has been checked that can be before a file is written.

    Raises:
        UserError: the broker does not answer, a topic is in use, or the log has a column that the wire cannot carry.
    """
    if workers.processes != 1:
        raise UserError(f"--processes: {workers.processes}, but --via-kafka runs in one process; leave it out")
    _check_columns(log, wire)
    topics = ReplayTopics(wire.bootstrap, wire.properties, out, settings.config_hash, workers.partitions)
    topics.check()
    return topics


def stream_via_kafka(run: RunFolder, data: Path, bundle: Path, workers: Workers, wire: Wire, topics: ReplayTopics) -> float:
    """Drive the run's log through the broker into its store; return the peak memory of this process in MiB.

    The bundle stands for everything before the cut; what is behind it comes from the topic.

    Raises:
        UserError: the run was begun before, was stopped, or its log did not come through whole.
    """
    if run.resumed and _has_versions(run):
        raise UserError(f"--via-kafka: {run.path} was begun and not finished; {_FROM_FILE}; or name another folder with --out")
    reset_peak()
    flow = flow_config(run, data, bundle, workers)
    log = PreparedLog.open(data)
    rows = rows_to_read(log, flow)
    with TemporaryDirectory(prefix="dynmm-replay-") as recovery:
        config = _live_config(flow, topics, Path(recovery))
        try:
            topics.make()
            result = _run(config, flow, log, rows, wire, topics)
        finally:
            if not wire.keep_topics:
                topics.delete()
    write_atomically(run.path / ACCOUNTING_FILE, (result.accounting.model_dump_json(indent=2) + "\n").encode())
    return own_peak_mb()


def _run(
    config: LiveConfig, flow: FlowConfig, log: PreparedLog, rows: tuple[int, int], wire: Wire, topics: ReplayTopics
) -> FlowResult:
    task = FeedTask(
        data=flow.data, bootstrap=wire.bootstrap, topic=topics.settings.interactions, wire=wire.wire, speed=wire.speed,
        properties=wire.properties, start_row=rows[0], end_row=rows[1],
    )  # fmt: skip
    with following(topics.settings, log, rows, flow.run_name):
        feed = Feed(task, topics.ends)
        try:
            result = run_live(config, ends=_quietly(feed.ends))
        finally:
            feed.close()
    times = log.read(["event_time_ms"], *rows)["event_time_ms"].to_numpy()
    _check_whole(result, len(times), len(np.unique(times // flow.slide_ms)), feed.finished)
    return result


def _quietly(ends: Callable[[], Ends | None]) -> Callable[[], Ends | None]:
    """``ends`` that, first asked in the running flow, ends its log of every slide: a replay shows progress instead."""
    asked = False

    def find() -> Ends | None:
        nonlocal asked
        if not asked:
            asked = True
            configure_logs(level=logging.WARNING)
        return ends()

    return find


def _live_config(flow: FlowConfig, topics: ReplayTopics, recovery: Path) -> LiveConfig:
    """The live dataflow with the embedded one's settings: nothing is sampled, late, skewed or paired that is not there."""
    stream = StreamSettings(
        run=flow.run_name, slide_ms=flow.slide_ms, allowed_lateness_ms=flow.allowed_lateness_ms, max_skew_ms=flow.max_skew_ms,
        idle_after_ms=None, max_train_events=flow.max_train_events, pairs=False, start="earliest",
    )  # fmt: skip
    return LiveConfig(
        kind="all", kafka=topics.settings, stream=stream, recovery=recovery, adapt=flow.adapt, engine=flow.engine,
        batch_size=flow.batch_size,
    )  # fmt: skip


def _check_whole(result: FlowResult, events: int, slides: int, finished: bool) -> None:
    found = result.accounting
    # Slides that are complete may still wait for adapt when the process is stopped.
    if not finished or found.pending or (found.used == events and result.progress.slides < slides):
        raise UserError(f"--via-kafka: stopped before the log was through; the run is left unfinished: {_FROM_FILE}")
    if not found.closes or found.read != events or found.late or found.dead:
        raise UserError(
            f"--via-kafka: {events:,} events were sent, and the flow accounts for {found!r}; look into the topics with"
            f" --keep-topics. The run is left unfinished: {_FROM_FILE}"
        )


def _check_columns(log: PreparedLog, wire: Wire) -> None:
    schema = pq.read_schema(log.interactions_path)
    for name in log.columns:
        kind = schema.field(name).type
        if name == "schema_version":
            raise UserError("--via-kafka: the log has a column schema_version, which on the wire means the wire's own; rename it")
        if wire.wire == "json" and _not_json(kind):
            raise UserError(f"--wire: json cannot carry the column {name} ({kind}); give --wire arrow")


def _not_json(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_decimal, types.is_duration)
    return any(test(kind) for test in tests)


def _has_versions(run: RunFolder) -> bool:
    if not (run.store_path / "latents" / "_delta_log").is_dir():
        return False
    return LatentStore.open(run.store_path).head() is not None
