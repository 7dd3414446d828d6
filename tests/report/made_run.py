"""Runs without a stream: figures drawn per window, in memory or written as `dynmm replay` leaves them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dynmm_core.adapt.strata import STRATA
from dynmm_core.store.latents import LatentStore
from dynmm_core.store.version import Draft, LatentRows
from replay.config import ReplaySettings
from replay.html.cells import Cells, strata_cells
from replay.html.run_data import Commit, RunData
from replay.oracle import ORACLE
from replay.results import OVERALL, collect, cpu_seconds, model_figures, windows_table
from replay.run_folder import RunRecord
from simulators.truth_file import DriftMark

HOUR_MS = 3_600_000
START_MS = 1_704_672_000_000
MEANS = {
    "static": 0.10, "window_popularity": 0.04, "sequential_rule": 0.22, "session_knn": 0.2, "switch": 0.23, "adapted": 0.3,
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is drawn: windows of ``events`` events, ``every`` hours apart; ``better`` is added to the adapted model's mean.

    models: their means of NDCG@10; oracle: of the oracle, who is no model of the stream.
    """

    windows: int = 24
    events: int = 40
    every: int = 1
    seed: int = 0
    better: float = 0.0
    models: tuple[tuple[str, float], ...] = tuple(MEANS.items())
    oracle: float | None = None
    slide_ms: int = HOUR_MS
    dataset: str = "made"

    @property
    def names(self) -> tuple[str, ...]:
        """The models of the stream."""
        return tuple(name for name, _ in self.models)

    @property
    def settings(self) -> ReplaySettings:
        """Settings that a replay of this plan would have."""
        return ReplaySettings(
            dataset_fingerprint=f"{self.dataset:f<64}", bundle_hash="b" * 64, split_hash="c" * 64, cut_row=100,
            end_time_ms=START_MS + self.windows * self.every * HOUR_MS, rank_from_ms=START_MS,
            rank_to_ms=START_MS + self.windows * self.every * HOUR_MS, seed=self.seed, models=self.names, history="event",
            publish_delay_ms=0, slide_ms=self.slide_ms, popularity_window_ms=HOUR_MS, keep_consumed=True, store_every=4,
            device="cpu", threads=1, adapter_lr=None, summaries=True,
        )  # fmt: skip

    def versions(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (slide_end_ms, metrics) of each version, a version a window."""
        # The oracle's draws come last, so that it changes nobody else's.
        means = [*self.models, *([] if self.oracle is None else [(ORACLE, self.oracle)])]
        for window in range(self.windows):
            rng = np.random.default_rng([self.seed, window])
            start_ms = START_MS + window * self.every * HOUR_MS
            rows: list[list[Any]] = []
            for model, mean in means:
                level = mean + (self.better if model == "adapted" else 0.0)
                sums = np.cumsum(rng.binomial(self.events, np.full(3, level / 3))) / 1.0
                for stratum in (OVERALL, *STRATA):
                    # Every stratum is half of the events, and does as well as all.
                    share = 2 if stratum == OVERALL else 1
                    values = (*(1.3 * sums * share / 2), *(sums * share / 2))
                    rows.append(
                        [start_ms, model, stratum, self.events * share // 2, *map(float, values), 1_800_000 * self.events]
                    )
            spent = {model: 0.001 * (place + 1) for place, model in enumerate(self.names)}
            twice = {model: 2 * seconds for model, seconds in spent.items()}
            yield (
                start_ms + HOUR_MS,
                {"windows": rows, "update_rejected": window == 1, "update_cpu_seconds": spent, "rank_cpu_seconds": twice},
            )


def made_run(plan: Plan, path: Path = Path("made/run"), drifts: Sequence[DriftMark] = ()) -> RunData:
    """A run of a plan, in memory."""
    versions = list(plan.versions())
    figures, names = [metrics for _, metrics in versions], (*plan.names, *([] if plan.oracle is None else [ORACLE]))
    results = collect(figures, names)
    commits = tuple(
        Commit(number, end_ms, 5, 900 * (number % 4 == 0), _parts(metrics), 1.5 if number else None, number == 1)
        for number, (end_ms, metrics) in enumerate(versions)
    )
    rows = [[start, model, sums.n, *sums.metrics] for (start, model), sums in results.windows.items()]
    strata = {name: cells for name, cells in strata_cells(figures, plan.names).items() if name != OVERALL}
    return RunData(
        path=path, record=_record(plan), metrics=_metrics(plan, figures, names), accounting=_accounting(plan),
        results=collect([_without_oracle(one) for one in figures], plan.names), windows=Cells.of_rows(rows, names), strata=strata,
        commits=commits, drifts=tuple(drifts),
    )  # fmt: skip


def write_run(path: Path, plan: Plan) -> Path:
    """A run of a plan as a finished run folder, with a store of tiny latents."""
    store = LatentStore.create_or_open(path / "store", 2)
    version, figures = None, []
    for number, (end_ms, metrics) in enumerate(plan.versions()):
        figures.append(metrics)
        rows = LatentRows(np.array(["item"] * 3), np.array(["a", "b", "c"]), np.full((3, 2), number, np.float32))
        draft = Draft("replay", end_ms, "c", "b", "s", rows, keep_rows=number % 4 == 0, metrics=_without_oracle(metrics))
        version = store.commit(draft, version)
    names = (*plan.names, *([] if plan.oracle is None else [ORACLE]))
    pq.write_table(windows_table(collect(figures, names)), path / "windows.parquet")
    (path / "run.json").write_text(_record(plan).model_dump_json())
    (path / "accounting.json").write_text(json.dumps(_accounting(plan)))
    (path / "attempts.jsonl").write_text('{"started_at_ms": 1}\n')
    (path / "metrics.json").write_text(json.dumps(_metrics(plan, figures, names)))
    return path


def _record(plan: Plan) -> RunRecord:
    settings = plan.settings
    return RunRecord(
        dataset=plan.dataset, protocol="default", config_hash=settings.config_hash, config=settings,
        environment={"python": "3.11"}, data="data", bundle="bundle",
    )  # fmt: skip


def _metrics(plan: Plan, figures: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    results = collect(figures, names)
    return {
        "windows": plan.windows, "events": results.events, "seconds": 12.0, "peak_rss_mb": 512.0,
        "store_version": plan.windows - 1, "models": model_figures(results),
        "update_cpu_seconds": cpu_seconds(figures, plan.names, "update"), "dataset": plan.dataset,
        "rank_cpu_seconds": cpu_seconds(figures, plan.names, "rank"),
    }  # fmt: skip


def _parts(metrics: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {part: metrics[f"{part}_cpu_seconds"] for part in ("update", "rank")}


def _accounting(plan: Plan) -> dict[str, int]:
    events = plan.windows * plan.events
    return {"read": events, "used": events, "late": 0, "duplicate": 0, "dead": 0, "pending": 0}


def _without_oracle(metrics: dict[str, Any]) -> dict[str, Any]:
    return {**metrics, "windows": [row for row in metrics["windows"] if row[1] != ORACLE]}
