"""A finished run as the report reads it: its record and figures, and what each version of its store tells."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dynmm_core.metrics.ranking import METRICS
from dynmm_core.store.latents import LatentStore
from dynmm_core.store.version import Version
from replay.html.cells import WINDOW_MS, Cells, strata_cells
from replay.html.marks import Mark, drift_marks
from replay.results import OVERALL, Ratio, Results, collect, headline_ratios
from replay.run_folder import ACCOUNTING_FILE, ATTEMPTS_FILE, WINDOWS_FILE, RunRecord, finished_run
from replay.truth import read_marks
from simulators.truth_file import DriftMark


@dataclass(frozen=True)
class Commit:
    """What one version cost: refreshed rows, bytes of rows that it added to the table, CPU seconds by part and model.

    seconds: wall time since the commit before, None for the first one of an attempt; rejected: the guard took its update back.
    """

    number: int
    slide_end_ms: int
    rows: int
    bytes: int
    cpu_seconds: Mapping[str, Mapping[str, float]]
    seconds: float | None
    rejected: bool


@dataclass(frozen=True)
class RunData:
    """Everything that a report shows. ``results`` and ``strata`` are of the models, ``windows`` may have the oracle, too."""

    path: Path
    record: RunRecord
    metrics: Mapping[str, Any]
    accounting: Mapping[str, int]
    results: Results
    windows: Cells
    strata: Mapping[str, Cells]
    commits: tuple[Commit, ...]
    drifts: tuple[DriftMark, ...] = ()

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.path.resolve().name

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the run, and the oracle where it ranked."""
        return self.windows.models

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The marks of its drifts on a time axis."""
        return drift_marks(self.drifts, self.until_ms)

    @property
    def until_ms(self) -> int:
        """The end of the last evaluation window; 0 where nothing was ranked."""
        return int(self.windows.starts_ms[-1]) + WINDOW_MS if len(self.windows.starts_ms) else 0

    @cached_property
    def ratios(self) -> tuple[Ratio, ...]:
        """The adapted model's ratios to others, the best simple model first."""
        return headline_ratios(self.results)


def read_run_data(path: Path) -> RunData:
    """Read the finished run at ``path``.

    Raises:
        UserError: no run there, or not a finished one.
    """
    record, metrics = finished_run(path)
    known = read_marks(path)
    store = LatentStore.open(path / "store")
    versions = store.active()
    figures = [version.metrics for version in versions]
    return RunData(
        path=path,
        record=record,
        metrics=metrics,
        accounting=json.loads((path / ACCOUNTING_FILE).read_text()),
        results=collect(figures, record.config.models),
        windows=read_windows(path),
        strata={name: cells for name, cells in strata_cells(figures, record.config.models).items() if name != OVERALL},
        commits=_commits(versions, store.row_file_bytes(), _attempt_starts_ms(path)),
        drifts=() if known is None else known.drifts,
    )


def read_windows(path: Path) -> Cells:
    """Return the sums of every model by evaluation window, from the run's windows.parquet."""
    columns = pq.read_table(path / WINDOWS_FILE, columns=["window_start_ms", "model", "n", *METRICS]).to_pydict()
    models = tuple(dict.fromkeys(columns["model"]))
    return Cells.of_rows(zip(*columns.values(), strict=True), models)


def _attempt_starts_ms(path: Path) -> list[int]:
    lines = (path / ATTEMPTS_FILE).read_text().splitlines()
    return [int(json.loads(line)["started_at_ms"]) for line in lines]


def _commits(versions: Sequence[Version], file_bytes: Mapping[int, int], starts_ms: Sequence[int]) -> tuple[Commit, ...]:
    return tuple(
        Commit(
            number=version.number,
            slide_end_ms=version.slide_end_ms,
            rows=version.rows,
            bytes=file_bytes.get(version.number, 0),
            cpu_seconds={part: version.metrics.get(f"{part}_cpu_seconds", {}) for part in ("update", "rank")},
            seconds=seconds,
            rejected=bool(version.metrics.get("update_rejected", False)),
        )
        for version, seconds in zip(versions, seconds_between([v.committed_at_ms for v in versions], starts_ms), strict=True)
    )


def seconds_between(commits_ms: Sequence[int], starts_ms: Sequence[int]) -> list[float | None]:
    """Return for each commit the seconds since the one before; None for the first of an attempt, which had its start to wait for.

    >>> seconds_between([2_000, 5_000, 91_000], [1_000, 90_000])
    [None, 3.0, None]
    """
    attempts = [sum(start <= at for start in starts_ms) for at in commits_ms]
    later = zip(pairwise(commits_ms), pairwise(attempts), strict=True)
    return [None] * bool(commits_ms) + [(at - before) / 1_000 if one == same else None for (before, at), (one, same) in later]
