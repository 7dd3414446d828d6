"""Run a dataflow on Kafka: plan it, open its processes, stop it in good order."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main
from pydantic import BaseModel, ConfigDict

from flows.accounts import ShardTotals, add_up
from flows.cluster import run_cluster
from flows.job import Job, OnFailure
from flows.kafka.plan import FlowPlan
from flows.kafka.process import Ends, LiveProcess
from flows.live.adapting import Announcer
from flows.live.config import LiveConfig
from flows.live.dataflows import build
from flows.live.planning import make_plan, run_ended
from flows.live.record import record_run
from flows.memory import spare_memory
from flows.observe.health import Health
from flows.observe.logs import bind_process, configure_logs, get_logger
from flows.observe.metrics import FlowMetrics
from flows.observe.server import ObserveServer, port_of
from flows.process import FlowProcess, FlowResult, ProcessPart
from flows.run import API_VARIABLE, run_here, summed_peaks


class Place(BaseModel):
    """This process among those of a cluster that others start: its number, and every process's address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    addresses: tuple[str, ...]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    config: LiveConfig
    plan: FlowPlan


def run_live(config: LiveConfig, processes: int = 1, place: Place | None = None, ends: Ends | None = None) -> FlowResult:
    """Run a dataflow until it is stopped (SIGTERM, SIGINT), drained or has failed; return its accounts since the run began.

    A stop leaves events of open slides pending; they are read again. ``ends`` tells later at which offsets to drain.

    Raises:
        UserError: the run cannot go on as asked; nothing was changed.
    """
    started = time.monotonic()
    configure_logs()
    os.environ.pop(API_VARIABLE, None)
    with _signals() as stopping:
        bind_process(config.stream.run, config.kind, 0 if place is None else place.number)
        plan = _plan(config, 0 if place is None else place.number, stopping)
        record_run(config)
        job = Job(
            opener="flows.live.run:open_flow",
            config=_Document(config=config, plan=plan).model_dump_json(),
            epoch_ms=config.epoch_ms,
        )
        get_logger().info("flow_starts", processes=processes, drain=config.drain)
        if place is not None:
            parts = [_run_in_cluster(job, place, stopping)]
        elif processes > 1:
            parts = run_cluster(job, processes, stopping)
        else:
            parts = [run_here(job, lambda process: _begin(process, stopping, ends))]
    result = _result(parts, plan, time.monotonic() - started, whole=place is None)
    if config.kind == "all" and plan.interactions is not None and plan.interactions.drained and not result.progress.slides:
        # Only now: a drain that was cut off may have left slides, and its head cannot tell.
        raise run_ended(config)
    return result


def open_flow(document: str, number: int, on_failure: OnFailure | None) -> tuple[FlowProcess, Dataflow]:
    """One process's state, its metrics served, and the dataflow."""
    given = _Document.model_validate_json(document)
    config, plan = given.config, given.plan
    configure_logs()
    bind_process(config.stream.run, config.kind, number)
    spare_memory()
    metrics, health = _open_shown(config, number)
    planned = None if plan.interactions is None else plan.interactions.ends
    needs_timestamps = config.stream.max_skew_ms is not None
    process = LiveProcess(number, on_failure, metrics, health, lambda: planned, needs_timestamps, _resumed(plan))
    if config.kind != "adapt":
        process.watch("recovery", config.recovery)
        metrics.watch_state("recovery", config.recovery)
    if config.adapt is not None:
        config.adapt.run_dir.mkdir(parents=True, exist_ok=True)
        process.watch("store", config.adapt.run_dir)
        for part in ("store", "journal"):
            metrics.watch_state(part, config.adapt.run_dir / part)
    process.at_end(_serve(config, number, metrics, health))
    if config.adapt is not None and number == 0:
        Announcer(config, process).announce_head()
    return process, build(config, plan, process)


def _plan(config: LiveConfig, number: int, stopping: Callable[[], bool]) -> FlowPlan:
    """The plan. Health is served while it is made: the broker may be away for long."""
    metrics, health = _open_shown(config, number)
    stop = _serve(config, number, metrics, health)
    try:
        return make_plan(config, stopping, health.waiting_for_broker)
    finally:
        stop()


def _open_shown(config: LiveConfig, number: int) -> tuple[FlowMetrics, Health]:
    stalled_ms = config.observe.stalled_after_ms
    metrics = FlowMetrics(config.stream.run, config.kind, number)
    metrics.observe_slide_length(config.stream.slide_ms)
    return metrics, Health(None if stalled_ms is None else stalled_ms / 1000)


def _serve(config: LiveConfig, number: int, metrics: FlowMetrics, health: Health) -> Callable[[], None]:
    """Serve metrics and health where that is asked for; returns what ends it."""
    if config.observe.port is None:
        return lambda: None
    server = ObserveServer(metrics, health, config.observe.host, port_of(config.observe.port, number))
    server.start()
    return server.stop


def _begin(process: FlowProcess, stopping: Callable[[], bool], ends: Ends | None) -> None:
    assert isinstance(process, LiveProcess)
    if ends is not None:
        process.ends = ends
    _stop_when(process, stopping)


def _stop_when(process: FlowProcess, stopping: Callable[[], bool]) -> None:
    """Hand a signal on to the process's sources, which end where they are."""

    def watch() -> None:
        while not stopping():
            time.sleep(0.1)
        process.stopping = True

    threading.Thread(target=watch, name="stop", daemon=True).start()


def _run_in_cluster(job: Job, place: Place, stopping: Callable[[], bool]) -> ProcessPart:
    process, flow = job.open(place.number)
    _stop_when(process, stopping)
    try:
        cluster_main(flow, list(place.addresses), place.number, epoch_interval=timedelta(milliseconds=job.epoch_ms))
    finally:
        process.close()
    if process.failure is not None:
        raise process.failure
    return process.part()


def _result(parts: list[ProcessPart], plan: FlowPlan, seconds: float, whole: bool) -> FlowResult:
    known = _resumed(plan) if whole else {}
    return FlowResult(
        accounting=add_up([part.ledger for part in parts], known),
        progress=max((part.progress for part in parts), key=lambda progress: progress.slides),
        seconds=seconds,
        peak_rss_mb=summed_peaks(parts),
        processes=tuple(part.share for part in parts),
    )


def _resumed(plan: FlowPlan) -> dict[str, ShardTotals]:
    """Totals of the buckets where the run goes on."""
    resumed = None if plan.interactions is None else plan.interactions.progress
    shards = {} if resumed is None else resumed.shards
    return {name: ShardTotals(used=one.used, duplicate=one.duplicates) for name, one in shards.items()}


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT has come; a second one ends the process at once.

    The engine may hold the main thread for long, in which no handler of Python's runs: a thread of its own hears of them.
    Blocking them alone would not do: a library's thread that began before takes them, too. Processes started here keep them
    blocked.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    wanted = {signal.SIGTERM, signal.SIGINT}
    stop = threading.Event()
    heard, told = socket.socketpair()
    told.setblocking(False)

    def wait() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
        while number := heard.recv(1):
            if number[0] not in wanted:
                continue
            if stop.is_set():
                os._exit(130)
            stop.set()

    handlers = {one: signal.signal(one, lambda number, frame: None) for one in wanted}
    wakeup = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    thread = threading.Thread(target=wait, name="signals", daemon=True)
    thread.start()
    try:
        yield stop.is_set
    finally:
        signal.set_wakeup_fd(wakeup)
        told.close()
        thread.join()
        heard.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for one, handler in handlers.items():
            signal.signal(one, handler)
