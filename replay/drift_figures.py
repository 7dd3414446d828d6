"""How the models of a run followed its drifts, from the sums per window and the marks of drift: no files in here, and no models.

Where a run has no oracle there is no gap to measure, and every figure that goes by it is None.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.adapt.strata import WINDOW_MS
from replay.oracle import ORACLE
from replay.results import HEADLINE
from simulators.measures import forgetting, recovery_time, regret, visits
from simulators.truth_file import DriftMark

STATIC = "static"
# Their end is the last step of the change, not a way back.
_ONE_WAY = ("gradual", "incremental", "item_birth", "item_death")


@dataclass(frozen=True)
class WindowSeries:
    """NDCG@10 by evaluation window: starts_ms and events (windows,), and by model its sums over events (windows,)."""

    starts_ms: np.ndarray
    events: np.ndarray
    sums: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, windows: pa.Table) -> "WindowSeries":
        """Read the table of ``windows.parquet``, in which every model has every window."""
        models = pc.unique(windows["model"]).to_pylist()
        parts = {model: windows.filter(pc.equal(windows["model"], model)) for model in models}
        first = parts[models[0]] if models else windows
        starts_ms, events = (first[name].to_numpy() for name in ("window_start_ms", "n"))
        return cls(starts_ms, events, {model: part[HEADLINE].to_numpy() for model, part in parts.items()})

    def means(self, model: str) -> np.ndarray:
        """A model's mean over the events of each window (windows,)."""
        means: np.ndarray = self.sums[model] / self.events
        return means

    def window_at(self, moment_ms: int) -> int:
        """The first window that ends behind a moment."""
        return int(np.searchsorted(self.starts_ms + WINDOW_MS, moment_ms, "right"))

    def share_of_gap(self, model: str, first: int = 0, last: int | None = None) -> float | None:
        """(model - static) / (oracle - static) over the events of windows ``first`` … ``last`` - 1; None where that says nothing.

        0 is the frozen base, 1 what the truth allows; below 0 a model is worse than the base.
        """
        if not {STATIC, ORACLE} <= set(self.sums):
            return None
        own, base, most = (float(self.sums[name][first:last].sum()) for name in (model, STATIC, ORACLE))
        return (own - base) / (most - base) if most > base else None


@dataclass(frozen=True)
class Followed:
    """How a model followed one drift.

    measured: whether there are windows enough around it, six before and three from its start on. recovery_windows: windows from
    the start until nine tenths of the gap that it opened are regained; None if that did not happen before the next change.
    share_of_gap: over the windows from the start to the next change. forgetting: of the concept of a recurring drift, in NDCG@10.
    """

    drift: str
    kind: str
    measured: bool
    recovery_windows: int | None
    share_of_gap: float | None
    forgetting: float | None


@dataclass(frozen=True)
class ModelFigures:
    """A model's mean NDCG@10 over events; its share of the oracle's gap over the windows from the first drift's start on, over
    all where there is none; its regret at the end, in NDCG@10 summed over events; and how it followed each drift."""

    model: str
    ndcg: float
    share_of_gap: float | None
    regret: float | None
    drifts: tuple[Followed, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON, without the model's name."""
        document = asdict(self)
        del document["model"]
        return document


def drift_figures(series: WindowSeries, drifts: tuple[DriftMark, ...]) -> tuple[ModelFigures, ...]:
    """The figures of every model but the oracle, in the order of the series."""
    first = series.window_at(min((drift.start_ms for drift in drifts), default=0))
    return tuple(_figures(series, model, drifts, first) for model in series.sums if model != ORACLE)


def _figures(series: WindowSeries, model: str, drifts: tuple[DriftMark, ...], first: int) -> ModelFigures:
    ndcg = float(series.sums[model].sum() / series.events.sum())
    followed = tuple(_followed(series, model, drift, _next_change_ms(drift, drifts)) for drift in drifts)
    if ORACLE not in series.sums:
        return ModelFigures(model, ndcg, None, None, followed)
    lost = regret(series.means(ORACLE), series.means(model), series.events)
    return ModelFigures(model, ndcg, series.share_of_gap(model, first), float(lost[-1]), followed)


def _followed(series: WindowSeries, model: str, drift: DriftMark, until_ms: int | None) -> Followed:
    first = series.window_at(drift.start_ms)
    last = len(series.events) if until_ms is None else series.window_at(until_ms)
    nothing = Followed(drift.id, drift.kind, False, None, None, None)
    if ORACLE not in series.sums or first >= last:
        return nothing
    gap = series.means(ORACLE) - series.means(model)
    share, forgotten = series.share_of_gap(model, first, last), _forgotten(series, gap, drift)
    try:
        recovered = recovery_time(gap[:last], first)
    except ValueError:
        return Followed(drift.id, drift.kind, False, None, share, forgotten)
    return Followed(drift.id, drift.kind, True, recovered, share, forgotten)


def _next_change_ms(drift: DriftMark, drifts: tuple[DriftMark, ...]) -> int | None:
    """When something changes next behind a drift's start: another drift, a way back, a recurring drift's next turn."""
    changes = [moment for other in drifts for moment in _changes_behind(other, drift.start_ms)]
    return min(changes, default=None)


def _changes_behind(drift: DriftMark, moment_ms: int) -> Iterator[int]:
    """Yield the first moments behind one at which a drift changes something: its start, its way back, its next turn."""
    if drift.start_ms > moment_ms:
        yield drift.start_ms
    elif drift.period_ms is not None:
        turns = (moment_ms - drift.start_ms) // drift.period_ms + 1
        yield drift.start_ms + turns * drift.period_ms
    elif drift.end_ms is not None and drift.end_ms > moment_ms and drift.kind not in _ONE_WAY:
        yield drift.end_ms


def _forgotten(series: WindowSeries, gap: np.ndarray, drift: DriftMark) -> float | None:
    if drift.kind != "recurring":
        return None
    spans = visits(drift.levels, int(series.starts_ms[0]), int(series.starts_ms[-1]) + WINDOW_MS)
    found = [(series.window_at(start), series.window_at(end)) for start, end in spans]
    found = [(first, last) for first, last in found if first < last]
    return forgetting(gap, found) if len(found) > 1 else None
