"""One replay from options to results: resolve, open the run folder, drive the dataflows, add up what they committed."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dynmm_core.adapt.costly_models import check_costly
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.model.bundle import Bundle
from dynmm_core.model.devices import open_device
from dynmm_core.store.latents import LatentStore
from dynmm_core.store.version import Version
from replay.attempts import seconds_over_attempts
from replay.config import OWN_STREAM, ReplayOptions, ReplaySettings, environment, resolve
from replay.drift_figures import WindowSeries, drift_figures
from replay.files import write_atomically
from replay.like import Likeness, RecordedRun
from replay.oracle import ORACLE
from replay.protocols import DEFAULT_NAME
from replay.results import (
    Ratio,
    Results,
    collect,
    cpu_seconds,
    drift_alarms,
    headline_ratios,
    model_figures,
    windows_table,
    with_model,
)
from replay.run_folder import ACCOUNTING_FILE, METRICS_FILE, WINDOWS_FILE, RunFolder, RunRecord, finished_run, open_run
from replay.splits import Split, make_split, replayed_split, save_split
from replay.streaming import Workers, stream
from replay.truth import DriftMarks, RunTruth

if TYPE_CHECKING:
    from replay.wire import Wire


@dataclass(frozen=True)
class ReplayRequest:
    """What to replay and where to: paths, options, the protocol's name, split manifests to write or to obey.

    workers: how the work is spread, which changes no result; wire: the way through a broker, which changes none either,
    None for the file itself; like: the live run whose stream is replayed; truth: the truth file of a log made by the simulator,
    or its folder.
    """

    data: Path
    bundle: Path
    out: Path
    options: ReplayOptions = field(default_factory=ReplayOptions)
    protocol: str = DEFAULT_NAME
    save_split: Path | None = None
    split: Path | None = None
    workers: Workers = field(default_factory=Workers)
    wire: "Wire | None" = None
    like: RecordedRun | None = None
    truth: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """A finished run: the document of metrics.json, the adapted model's ratios to others, and where every event went.

    ``likeness`` compares it with the live run that it replays, if it does.
    """

    metrics: dict[str, Any]
    ratios: tuple[Ratio, ...]
    accounting: dict[str, int]
    run: Path
    likeness: Likeness | None = None

    @property
    def store(self) -> Path:
        """Where the run's latent store lies."""
        return self.run / "store"


def replay_log(request: ReplayRequest) -> Outcome:
    """Replay a prepared log into a run folder, from its beginning or from where an earlier attempt stopped.

    Raises:
        UserError: the inputs do not fit each other, or the folder may not be used; nothing is overwritten.
    """
    log, bundle = PreparedLog.open(request.data), Bundle.load(request.bundle)
    open_device(request.options.device)
    _check_bundle(request, log, bundle)
    check_costly(bundle, request.options.models)
    split = _split(request, log)
    names = OWN_STREAM if request.like is None else request.like.stream()
    settings = resolve(request.options, split, bundle.hash, bundle.choices.popularity_window_ms, names)
    truth = None if request.truth is None else RunTruth.open(request.truth, log, settings)
    drive = _driver(request, log, settings)
    if request.save_split is not None:
        save_split(split, request.save_split)
    run = open_run(request.out, _record(request, log, settings, truth))
    try:
        run.begin_attempt()
        outcome = _finish(run, split, drive(run), truth)
    finally:
        run.close()
    likeness = None if request.like is None else request.like.compare(LatentStore.open(run.store_path))
    return replace(outcome, likeness=likeness)


def read_outcome(path: Path) -> Outcome:
    """Return the outcome of a finished run.

    Raises:
        UserError: no run at ``path``, or not a finished one.
    """
    record, metrics = finished_run(path)
    results = _results(LatentStore.open(path / "store"), record.config)
    return Outcome(metrics, headline_ratios(results), _accounting(path), path)


def _driver(request: ReplayRequest, log: PreparedLog, settings: ReplaySettings) -> Callable[[RunFolder], float]:
    """Return what drives the log through the dataflows, from the file or through a broker that has answered."""
    wire = request.wire
    if wire is None:
        return lambda run: stream(run, request.data, request.bundle, request.workers)
    from replay.via_kafka import prepare_topics, stream_via_kafka

    topics = prepare_topics(wire, log, settings, request.out, request.workers)
    return lambda run: stream_via_kafka(run, request.data, request.bundle, request.workers, wire, topics)


def _check_bundle(request: ReplayRequest, log: PreparedLog, bundle: Bundle) -> None:
    """Refuse a bundle of another history, and a log without what the bundle knows requests by.

    A live run may have had messages without that, too.
    """
    if not bundle.fits(log):
        raise UserError(
            f"--bundle: made for {bundle.dataset} ({bundle.dataset_fingerprint:.16}), the log is {log.name}"
            f" ({log.fingerprint:.16}), whose events before the cut are others; make one for it with `dynmm pretrain DATA --out"
            " BUNDLE`"
        )
    missing = [name for name in bundle.context.values if name not in log.columns]
    if missing and request.like is None:
        raise UserError(
            f"--bundle: {request.bundle} knows requests by {', '.join(missing)}, which {request.data} does not have; bring these"
            f" columns back, or make a bundle without them: `dynmm pretrain {request.data} --out BUNDLE`"
        )


def _split(request: ReplayRequest, log: PreparedLog) -> Split:
    options = request.options
    if request.split is None:
        return make_split(log, options.from_, options.to, options.max_windows)
    for option, value in (("--from", options.from_), ("--to", options.to), ("--max-windows", options.max_windows)):
        if value is not None:
            raise UserError(f"{option}: {request.split} fixes the range already; give --split or {option}")
    return replayed_split(request.split, log)


def _record(request: ReplayRequest, log: PreparedLog, settings: ReplaySettings, truth: RunTruth | None) -> RunRecord:
    return RunRecord(
        dataset=log.name,
        protocol=request.protocol,
        config_hash=settings.config_hash,
        config=settings,
        environment=environment(),
        data=str(request.data.resolve()),
        bundle=str(request.bundle.resolve()),
        truth=None if truth is None else truth.marks.truth,
    )


def _results(store: LatentStore, settings: ReplaySettings) -> Results:
    return collect((version.metrics for version in store.active()), settings.models)


def _accounting(path: Path) -> dict[str, int]:
    return dict(json.loads((path / ACCOUNTING_FILE).read_text()))


def _finish(run: RunFolder, split: Split, peak_mb: float, truth: RunTruth | None) -> Outcome:
    """Write windows.parquet and the marks of drift, then metrics.json, whose presence says that the run is finished."""
    store, settings = LatentStore.open(run.store_path), run.record.config
    versions = store.active()
    results = collect((version.metrics for version in versions), settings.models)
    if truth is not None:
        results = with_model(results, ORACLE, truth.oracle(settings))
        truth.marks.write(run.path)
    table, buffer = windows_table(results), BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(run.path / WINDOWS_FILE, buffer.getvalue())
    seconds = seconds_over_attempts(
        run.attempt_starts_ms(), [version.committed_at_ms for version in versions], time.time_ns() // 1_000_000
    )
    metrics = {
        "dataset": run.record.dataset,
        "protocol": run.record.protocol,
        "history": settings.history,
        "seed": settings.seed,
        "config_hash": run.record.config_hash,
        "windows": len(results.window_starts_ms),
        "events": results.events,
        "seconds": round(seconds, 3),
        "peak_rss_mb": round(peak_mb, 1),
        "store_version": versions[-1].number if versions else None,
        "models": model_figures(results),
        "update_cpu_seconds": cpu_seconds((version.metrics for version in versions), settings.models, "update"),
        "rank_cpu_seconds": cpu_seconds((version.metrics for version in versions), settings.models, "rank"),
        **({} if truth is None else {"drift": _drift(truth.marks, table)}),
    }
    if settings.detectors:
        metrics["drift_alarms"] = drift_alarms(version.metrics for version in versions)
    accounting = _accounting(run.path)
    _check_complete(split, metrics, accounting, _left_out(versions))
    write_atomically(run.path / METRICS_FILE, (json.dumps(metrics, indent=2) + "\n").encode())
    return Outcome(metrics, headline_ratios(results), accounting, run.path)


def _drift(marks: DriftMarks, windows: pa.Table) -> dict[str, Any]:
    """How the models followed the drifts, for metrics.json."""
    figures = drift_figures(WindowSeries.of(windows), marks.drifts)
    return {"truth": marks.truth, "oracle": marks.oracle, "models": {one.model: one.to_json() for one in figures}}


def _left_out(versions: Sequence[Version]) -> int:
    """Events that were counted and, with ``max_train_events``, in no slide's sample."""
    facts = [version.lineage for version in versions if "counted" in version.lineage]
    return sum(fact["counted"] - fact["events"] for fact in facts)


def _check_complete(split: Split, metrics: Mapping[str, Any], accounting: Mapping[str, int], left_out: int) -> None:
    """Every event of the split is ranked, unless the dataflow told why it was not used, or it was in no sample."""
    unused = left_out + sum(accounting[part] for part in ("late", "duplicate", "dead"))
    missing = split.events - metrics["events"]
    if not 0 <= missing <= unused or accounting["pending"]:
        raise RuntimeError(
            f"events: {metrics['events']} of the split's {split.events} were ranked, and the dataflow accounts for"
            f" {dict(accounting)}; the run is left unfinished"
        )
