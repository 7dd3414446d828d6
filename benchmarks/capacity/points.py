"""The loads that the capacity model is fitted to, those that it is checked at, and their measurement."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.capacity.fit import (
    CLOSE_TERMS,
    MEMORY_TERMS,
    READ_TERMS,
    Model,
    close_terms,
    fit_terms,
    known_bytes,
    memory_terms,
    read_terms,
)
from benchmarks.capacity.load import Counts, Load, expect
from benchmarks.stream.broker import REPOSITORY
from benchmarks.stream.events import START_MS, EventPlan, make_events, write_json
from dynmm_core.events.hashing import hash64
from dynmm_core.windows.buckets import BUCKETS, buckets_of

Form = Literal["json", "arrow"]
FORMS: tuple[Form, ...] = ("json", "arrow")
SLIDES = 4
_JOB_LIMIT_S = 300.0
_M5, _M15, _M30 = 300_000, 900_000, 1_800_000
FITTED = (
    Load(300, 10_000, 20_000, _M15),
    Load(500, 100_000, 20_000, _M5),
    Load(400, 1_000, 100_000, _M5, lateness_ms=0),
    Load(100, 20_000, 200_000, _M30),
    Load(1_000, 5_000, 500, _M5, lateness_ms=_M5),
    Load(100, 5_000, 50_000, _M15, batch_rows=500),
    Load(800, 300_000, 300_000, _M5, lateness_ms=_M15),
    Load(30, 500, 2_000, _M5, batch_rows=250),
    Load(600, 10_000, 20_000, _M5, buckets=1),
    Load(1_000, 100_000, 5_000, _M5, buckets=1),
)
CHECKED = (
    Load(250, 40_000, 30_000, _M15, lateness_ms=_M5),
    Load(3_000, 150_000, 10_000, _M5),
    Load(80, 4_000, 150_000, _M30, batch_rows=2_000),
)
FAR = (Load(10_000, 330_000, 100_000, _M5),)  # ten times the largest fitted: how far the model may be trusted


@dataclass(frozen=True)
class Point:
    """A load in one form and what ``SLIDES`` slides of it took, in CPU seconds and bytes."""

    load: Load
    form: Form
    cpu_seconds: float
    close_seconds: float
    exchange_seconds: float
    peak_bytes: float
    base_bytes: float

    def counts(self) -> list[Counts]:
        """What its slides were expected to hold, in order."""
        return [expect(self.load, self.load.slide_ms * (number + 1)) for number in range(SLIDES)]

    def total(self) -> Counts:
        """All slides together."""
        first, *others = self.counts()
        return sum(others, first)


def measure_load(load: Load, runs: int, seed: int = 0) -> list[Point]:
    """The load in each form, in ``runs`` fresh processes: the least CPU counts, and the most memory."""
    table = events_of(load, seed)
    found = []
    with tempfile.TemporaryDirectory(prefix="capacity-") as name:
        for form in FORMS:
            path = Path(name) / f"events.{form}"
            _write(table, path, form, load.batch_rows)
            results = []
            for number in range(runs):
                folder = path.parent / f"{form}-{number}"
                folder.mkdir()
                job = {**asdict(load), "form": form, "events": len(table), "path": str(path), "folder": str(folder)}
                results.append(run_job({**job, "exchanged": form == "arrow"}))
            found.append(_point(load, form, results))
    return found


def events_of(load: Load, seed: int = 0) -> pa.Table:
    """The events of ``SLIDES`` slides, which begin with one; users of a load with fewer buckets are named so as to be in them."""
    events = int(load.slide_events * SLIDES)
    table = make_events(EventPlan(events, load.rate, load.users, load.items, seed=seed))
    table = table.set_column(0, "event_time_ms", pc.add(table["event_time_ms"], start_ms(load) - START_MS))
    if load.buckets == BUCKETS:
        return table
    tried = pa.array([f"u{number:07}" for number in range(2 * load.users * BUCKETS // load.buckets + 1_000)])
    names = tried.filter(pa.array(buckets_of(hash64(tried)) < load.buckets))
    numbers = pc.cast(pc.utf8_slice_codeunits(table["user_id"], 1), pa.int64())
    return table.set_column(2, "user_id", names.take(numbers.combine_chunks()))


def start_ms(load: Load) -> int:
    """The first slide's beginning."""
    return -(-START_MS // load.slide_ms) * load.slide_ms


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Run the job in a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    search = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.capacity.job", json.dumps(job)],
        capture_output=True, text=True, timeout=_JOB_LIMIT_S, env={**os.environ, "PYTHONPATH": search}, cwd=job["folder"],
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"capacity: exit code {done.returncode}: {done.stderr.strip()[-800:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def fit_model(points: Sequence[Point]) -> Model:
    """The model of these points: memory of those in JSON, closing and reading of all."""
    totals = [point.total() for point in points]
    reading = [point.cpu_seconds - point.close_seconds for point in points]
    read = fit_terms(READ_TERMS, [read_terms(total, point.form) for point, total in zip(points, totals, strict=True)], reading)
    close = fit_terms(CLOSE_TERMS, [close_terms(total) for total in totals], [point.close_seconds for point in points])
    held = [(point, point.counts()[-1]) for point in points if point.form == "json"]
    beside = [point.peak_bytes - sum(known_bytes(point.load, last).values()) for point, last in held]
    memory = fit_terms(MEMORY_TERMS, [memory_terms(point.load, last) for point, last in held], beside)
    exchanged = [
        (point.exchange_seconds, total.events) for point, total in zip(points, totals, strict=True) if point.form == "arrow"
    ]
    return Model(read, close, memory, sum(spent for spent, _ in exchanged) / sum(events for _, events in exchanged))


def scaled(loads: Sequence[Load], share: float) -> list[Load]:
    """The loads at a share of their rates."""
    return [replace(load, rate=max(1, round(load.rate * share))) for load in loads]


def measure_loads(loads: Sequence[Load], runs: int, seed: int, done: Callable[[], None]) -> list[Point]:
    """Every load, one after the other."""
    found: list[Point] = []
    for load in loads:
        found += measure_load(load, runs, seed)
        done()
    return found


def _write(table: pa.Table, path: Path, form: Form, batch_rows: int) -> None:
    if form == "json":
        write_json(table, path)
        return
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=batch_rows)


def _point(load: Load, form: Form, results: Sequence[dict[str, Any]]) -> Point:
    cheapest = min(results, key=lambda result: float(result["cpu_seconds"]))
    if cheapest["slides"] != SLIDES:
        raise RuntimeError(f"capacity: {load} closed {cheapest['slides']} slides, not {SLIDES}")
    largest = max(results, key=lambda result: float(result["peak_bytes"]))
    return Point(
        load, form, cheapest["cpu_seconds"], cheapest["close_seconds"],
        min(float(result["exchange_seconds"]) for result in results), largest["peak_bytes"], largest["base_bytes"],
    )  # fmt: skip
