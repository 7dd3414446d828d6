"""Sums by bucket of time: evaluation windows, or whole days and weeks of them where there are too many to look at."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynmm_core.adapt.strata import WINDOW_MS
from dynmm_core.metrics.ranking import METRICS
from dynmm_core.metrics.wilson import wilson_interval
from dynmm_core.times import DAY_MS

BUCKETS_MS = (WINDOW_MS, 3 * WINDOW_MS, 6 * WINDOW_MS, DAY_MS, 7 * DAY_MS, 28 * DAY_MS)


@dataclass(frozen=True)
class Cells:
    """What ``models`` scored by time: starts_ms (T,) ascending, n (M, T) events, sums (M, T, 6) in the order of ``METRICS``."""

    models: tuple[str, ...]
    starts_ms: np.ndarray
    n: np.ndarray
    sums: np.ndarray

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[Any]], models: Sequence[str]) -> "Cells":
        """Add up rows of (window_start_ms, model, n, the metrics' sums); those of other models are left out."""
        place = {model: number for number, model in enumerate(models)}
        kept = [row for row in rows if row[1] in place]
        starts_ms, at = np.unique(np.array([row[0] for row in kept], np.int64), return_inverse=True)
        model = np.array([place[row[1]] for row in kept], np.int64)
        n = np.zeros((len(models), len(starts_ms)), np.int64)
        sums = np.zeros((len(models), len(starts_ms), len(METRICS)))
        np.add.at(n, (model, at), np.array([row[2] for row in kept], np.int64))
        np.add.at(sums, (model, at), np.array([row[3 : 3 + len(METRICS)] for row in kept], float).reshape(-1, len(METRICS)))
        return cls(tuple(models), starts_ms, n, sums)

    def by(self, bucket_ms: int) -> "Cells":
        """Return the same in buckets of ``bucket_ms``, counted from midnight UTC of 1 January 1970; empty ones are left out."""
        starts_ms, first = np.unique(self.starts_ms // bucket_ms * bucket_ms, return_index=True)
        if not len(starts_ms):
            return self
        n, sums = np.add.reduceat(self.n, first, axis=1), np.add.reduceat(self.sums, first, axis=1)
        return Cells(self.models, starts_ms, n, sums)

    def of(self, model: str) -> int:
        """Return the row of a model."""
        return self.models.index(model)

    def sums_of(self, metric: str) -> np.ndarray:
        """Return the metric's sums over events (M, T)."""
        sums: np.ndarray = self.sums[:, :, METRICS.index(metric)]
        return sums

    def total(self, model: str, metric: str) -> float:
        """Return the sum of a model's metric over all events."""
        return float(self.sums_of(metric)[self.of(model)].sum())

    def means(self, metric: str) -> np.ndarray:
        """Return the metric's mean over events (M, T), as a fraction; NaN where a model ranked nothing."""
        with np.errstate(invalid="ignore"):
            means: np.ndarray = self.sums_of(metric) / self.n
        return means

    def intervals(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the 95 % interval (low, high) of every mean, each (M, T), were the events independent."""
        # A sum of many ones may end a rounding above their number.
        return wilson_interval(np.clip(self.means(metric), 0.0, 1.0), self.n)


def fitting_bucket_ms(starts_ms: np.ndarray, at_most: int) -> int:
    """Return the smallest bucket that makes ``at_most`` points or fewer of the windows at ``starts_ms``, else the largest."""
    for bucket_ms in BUCKETS_MS:
        if len(np.unique(starts_ms // bucket_ms)) <= at_most:
            return bucket_ms
    return BUCKETS_MS[-1]


def strata_cells(commits: Iterable[Mapping[str, Any]], models: Sequence[str]) -> dict[str, Cells]:
    """Return the sums of each stratum, and of ``all``, from the versions' ``metrics``."""
    rows: dict[str, list[list[Any]]] = {}
    for commit in commits:
        for start_ms, model, stratum, *sums in commit["windows"]:
            rows.setdefault(stratum, []).append([start_ms, model, *sums])
    return {stratum: Cells.of_rows(found, models) for stratum, found in rows.items()}
