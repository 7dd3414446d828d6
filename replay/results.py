"""From the store's log to results: sums per window and model, means over events, strata, and the uncertainty."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum, isfinite
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dynmm_core.adapt.loop_settings import DAY_OLD_MODEL
from dynmm_core.adapt.settings import COSTLY_MODELS
from dynmm_core.adapt.strata import STRATA, WindowRow
from dynmm_core.metrics.bootstrap import block_bootstrap_ratio
from dynmm_core.metrics.drift.watch import ALARMS
from dynmm_core.metrics.ranking import METRICS

OVERALL = "all"
ADAPTED = "adapted"
LONG_LOG_WINDOWS = 240
LONG_BLOCK, SHORT_BLOCK = 24, 6
LEAST_WINDOWS = 2 * SHORT_BLOCK  # with fewer there is no interval
LEAST_BLOCKS = 4  # with fewer, intervals hold the truth too seldom
BOOTSTRAP_SEED = 0
HEADLINE = "ndcg@10"
SINGLE_MODELS = ("window_popularity", "decayed_popularity", "sequential_rule", "session_knn", "item_knn")


@dataclass(frozen=True)
class Sums:
    """Sums over ``n`` ranked events: ``metrics`` (6,) in the order of ``METRICS``, and staleness in ms."""

    n: int
    metrics: tuple[float, ...]
    staleness_ms: int

    def means(self) -> dict[str, float]:
        """Return the mean of each metric over events, as fractions."""
        return {name: total / self.n for name, total in zip(METRICS, self.metrics, strict=True)}


@dataclass(frozen=True)
class Results:
    """All sums of a run: ``windows[window_start_ms, model]`` and ``strata[model, stratum]``, OVERALL among the latter.

    candidates_hit: targets that the adapted model had among its candidates; None where no version tells.
    """

    models: tuple[str, ...]
    windows: dict[tuple[int, str], Sums]
    strata: dict[tuple[str, str], Sums]
    candidates_hit: int | None = None

    @property
    def window_starts_ms(self) -> list[int]:
        """Return the evaluation windows with a ranked event, in order."""
        return sorted({start for start, _ in self.windows})

    @property
    def events(self) -> int:
        """Return the number of ranked events."""
        return self.strata[self.models[0], OVERALL].n if self.windows else 0


def collect(commits: Iterable[Mapping[str, Any]], models: Sequence[str]) -> Results:
    """Sum the window rows of a run's commits; a window that several slides share is added up.

    Args:
        commits: each version's ``metrics``, oldest first; models: of the run, in their order.

    Raises:
        ValueError: the models did not rank the same events, which would make their figures incomparable.
    """
    hits: list[int] = []
    rows: list[list[Any]] = []
    for commit in commits:
        hits += [commit["candidates_hit"]] if "candidates_hit" in commit else []
        rows += commit["windows"]
    return _checked(Results(tuple(models), *_summed(rows), sum(hits) if hits else None))


def with_model(results: Results, model: str, rows: Sequence[WindowRow]) -> Results:
    """Return the results with one more model, whose rows did not come from the stream; as they are where it has no rows.

    Raises:
        ValueError: it ranked other events than the models.
    """
    if not rows:
        return results
    windows, strata = _summed([row.to_json() for row in rows])
    return _checked(
        replace(
            results, models=(*results.models, model), windows=dict(sorted({**results.windows, **windows}.items())),
            strata={**results.strata, **strata},
        )
    )  # fmt: skip


def _summed(rows: Iterable[list[Any]]) -> tuple[dict[tuple[int, str], Sums], dict[tuple[str, str], Sums]]:
    """Sums of window rows by (window, model) and by (model, stratum)."""
    by_window: dict[tuple[int, str], list[list[Any]]] = defaultdict(list)
    by_stratum: dict[tuple[str, str], list[list[Any]]] = defaultdict(list)
    for row in rows:
        start, model, stratum = row[:3]
        by_stratum[model, stratum].append(row[3:])
        if stratum == OVERALL:
            by_window[start, model].append(row[3:])
    windows = {key: _added(by_window[key]) for key in sorted(by_window)}
    return windows, {key: _added(found) for key, found in by_stratum.items()}


def _checked(results: Results) -> Results:
    models, windows = results.models, results.windows
    for start in {start for start, _ in windows}:
        counts = {model: windows[start, model].n for model in models if (start, model) in windows}
        if len(counts) < len(models) or len(set(counts.values())) > 1:
            raise ValueError(f"window {start}: the models ranked different events: {counts}")
    return results


def _added(rows: list[list[Any]]) -> Sums:
    columns = list(zip(*rows, strict=True))
    # fsum is exact before its one rounding, so how a window was cut into slides leaves no trace in the addition.
    return Sums(sum(columns[0]), tuple(fsum(column) for column in columns[1:-1]), sum(columns[-1]))


def model_figures(results: Results) -> dict[str, Any]:
    """Return the ``models`` object of metrics.json: means over events, the same by stratum, and the share of events whose
    target the adapted model had among its candidates."""
    figures: dict[str, Any] = {}
    for model in results.models:
        overall = results.strata.get((model, OVERALL))
        if overall is None:
            continue
        strata = {}
        for stratum in STRATA:
            sums = results.strata.get((model, stratum))
            # A stratum without an event has no mean; it is named all the same, so that readers need no special case.
            means = sums.means() if sums else dict.fromkeys(METRICS)
            strata[stratum] = {"n": sums.n if sums else 0, **means}
        staleness = overall.staleness_ms / overall.n
        figures[model] = {**overall.means(), "staleness_ms": staleness, "strata": strata}
        if model == ADAPTED and results.candidates_hit is not None:
            figures[model]["candidate_recall"] = results.candidates_hit / overall.n
    return figures


def cpu_seconds(commits: Iterable[Mapping[str, Any]], models: Sequence[str], of: Literal["update", "rank"]) -> dict[str, float]:
    """Return the CPU seconds that each model's updates, or its ranking, took, all slides together."""
    spent = [commit.get(f"{of}_cpu_seconds", {}) for commit in commits]
    return {model: round(fsum(one.get(model, 0.0) for one in spent), 3) for model in models}


def drift_alarms(commits: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the drifts that detectors suspected, in order: ``slide_end_ms, detector, signal, value, expected``."""
    return [alarm for commit in commits for alarm in commit.get(ALARMS, ())]


def windows_table(results: Results) -> pa.Table:
    """Return one row per evaluation window and model: n, the metrics' sums, staleness summed in ms."""
    keys = [(start, model) for start in results.window_starts_ms for model in results.models]
    sums = [results.windows[key] for key in keys]
    columns: dict[str, pa.Array] = {
        "window_start_ms": pa.array([start for start, _ in keys], pa.int64()),
        "model": pa.array([model for _, model in keys], pa.string()),
        "n": pa.array([one.n for one in sums], pa.int64()),
    }
    for position, name in enumerate(METRICS):
        columns[name] = pa.array([one.metrics[position] for one in sums], pa.float64())
    columns["staleness_ms"] = pa.array([one.staleness_ms for one in sums], pa.int64())
    return pa.table(columns)


@dataclass(frozen=True)
class Ratio:
    """Ratio of two models' summed metric with its 95 % interval, from ``blocks`` blocks of ``block`` windows each."""

    numerator: str
    denominator: str
    metric: str
    ratio: float
    low: float
    high: float
    block: int
    blocks: int
    windows: int


def ratio_interval(results: Results, numerator: str, denominator: str, metric: str = "ndcg@10") -> Ratio | None:
    """Return the ratio and its block-bootstrap interval over consecutive windows; None where it is undefined.

    Blocks are those of :func:`block_windows`.
    """
    starts = results.window_starts_ms
    if not {numerator, denominator} <= set(results.models):
        return None
    column = METRICS.index(metric)
    top, bottom = ([results.windows[start, model].metrics[column] for start in starts] for model in (numerator, denominator))
    return ratio_over_windows(numerator, denominator, metric, top, bottom)


def stratum_ratios(
    commits: Iterable[Mapping[str, Any]], numerator: str, denominator: str, metric: str = HEADLINE
) -> dict[str, Ratio]:
    """Return the ratio of two models in each stratum, over its windows; those without a finite interval are left out."""
    column = METRICS.index(metric)
    sums: dict[tuple[str, str], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for commit in commits:
        for row in commit["windows"]:
            start, model, stratum = row[:3]
            sums[stratum, model][start] += row[4 + column]
    ratios = {}
    for stratum in STRATA:
        top, bottom = sums[stratum, numerator], sums[stratum, denominator]
        starts = sorted(top.keys() & bottom.keys())
        summed = ([side[start] for start in starts] for side in (top, bottom))
        found = ratio_over_windows(numerator, denominator, metric, *summed)
        if found is not None and isfinite(found.high):
            ratios[stratum] = found
    return ratios


def ratio_over_windows(
    numerator: str, denominator: str, metric: str, top: Sequence[float], bottom: Sequence[float]
) -> Ratio | None:
    """Return the ratio of two models' sums per window, each (windows,), with its interval; None where it is undefined."""
    if not top or not sum(bottom):
        return None
    block = block_windows(len(top))
    ratio, low, high = block_bootstrap_ratio(np.array(top), np.array(bottom), block, BOOTSTRAP_SEED)
    return Ratio(numerator, denominator, metric, ratio, low, high, block, -(-len(top) // block), len(top))


def block_windows(windows: int) -> int:
    """Return how many consecutive windows of a log are drawn together.

    A day of hours; 6 where there are fewer than 240, a fourth of all where there are fewer than 24, and all where there are
    fewer than 12: one block, which has no interval.
    """
    if windows < LEAST_WINDOWS:
        return max(windows, 1)
    return LONG_BLOCK if windows >= LONG_LOG_WINDOWS else min(SHORT_BLOCK, windows // LEAST_BLOCKS)


def headline_ratios(results: Results) -> tuple[Ratio, ...]:
    """Return the adapted model's ratios to the best single simple model and the others named here; the frozen base comes last.

    Those that did not run are left out.

    The best simple model is the one with the highest metric over all events, and the same in every stratum.
    """
    mean = {name: results.strata[name, OVERALL].means()[HEADLINE] for name in SINGLE_MODELS if (name, OVERALL) in results.strata}
    best = [max(mean, key=lambda name: mean[name])] if mean else []
    others = (*best, "switch", *COSTLY_MODELS, DAY_OLD_MODEL, "static")
    found = [ratio_interval(results, ADAPTED, other, HEADLINE) for other in others]
    return tuple(ratio for ratio in found if ratio is not None)
