"""Figures of drift from lists of windows that one can check by hand."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from dynmm_core.times import HOUR_MS
from replay.drift_figures import ModelFigures, WindowSeries, drift_figures
from replay.table import drift_table
from simulators.measures import recovery_time
from simulators.truth_file import DriftMark

START_MS = 1_000 * HOUR_MS
EVENTS = 10


def mark(kind: str, start: int, end: int | None = None, **more: object) -> DriftMark:
    """A drift over hours of the online part."""
    moment = None if end is None else START_MS + end * HOUR_MS
    levels = [(START_MS + start * HOUR_MS, 1.0), *([] if moment is None else [(moment, 0.0)])]
    known = {"id": kind, "magnitude": 1.0, "levels": levels, "items_affected": 1, "users_affected": 1, **more}
    return DriftMark(kind=kind, start_ms=START_MS + start * HOUR_MS, end_ms=moment, **known)


def series(**means: list[float]) -> WindowSeries:
    """Hourly windows of ten events each; means by model."""
    hours, models = len(next(iter(means.values()))), list(means)
    columns = {
        "window_start_ms": [START_MS + hour * HOUR_MS for hour in range(hours) for _ in models],
        "model": models * hours,
        "n": [EVENTS] * hours * len(models),
        "ndcg@10": [EVENTS * means[model][hour] for hour in range(hours) for model in models],
    }
    return WindowSeries.of(pa.table(columns))


def flat(value: float, hours: int = 24) -> list[float]:
    return [value] * hours


def adapted(gaps: dict[range, float], most: float = 0.5, hours: int = 24) -> list[float]:
    """The oracle's 0.5 minus gaps by hours, 0.1 elsewhere."""
    values = flat(most - 0.1, hours)
    for span, gap in gaps.items():
        for hour in span:
            values[hour] = most - gap
    return values


def figures_of(found: tuple[ModelFigures, ...], model: str) -> ModelFigures:
    return next(one for one in found if one.model == model)


def test_shares_of_the_gap_and_regret_are_those_of_the_events() -> None:
    told = series(static=[0.2] * 12 + [0.1] * 12, adapted=[0.4] * 12 + [0.3] * 12, oracle=flat(0.5))
    found = drift_figures(told, (mark("abrupt", 12),))

    assert [one.model for one in found] == ["static", "adapted"]
    ours = figures_of(found, "adapted")
    assert (ours.ndcg, ours.share_of_gap) == (pytest.approx(0.35), pytest.approx((0.3 - 0.1) / (0.5 - 0.1)))
    assert ours.regret == pytest.approx(EVENTS * (12 * 0.1 + 12 * 0.2))
    assert figures_of(found, "static").share_of_gap == 0.0
    calm = figures_of(drift_figures(told, ()), "adapted")
    assert calm.share_of_gap == pytest.approx((0.35 - 0.15) / (0.5 - 0.15)) and calm.drifts == ()


def test_windows_weigh_by_their_events() -> None:
    told = series(static=flat(0.1, 2), adapted=[0.2, 0.5], oracle=flat(0.5, 2))
    told = replace(told, events=np.array([30, 10]), sums={name: told.means(name) * [30, 10] for name in told.sums})

    assert figures_of(drift_figures(told, ()), "adapted").share_of_gap == pytest.approx((30 * 0.2 + 10 * 0.5 - 4) / (20 - 4))


def test_an_oracle_below_the_base_leaves_no_gap_to_share() -> None:
    told = series(static=flat(0.4), adapted=flat(0.3), oracle=flat(0.2))
    assert figures_of(drift_figures(told, ()), "adapted").share_of_gap is None


def test_recovery_counts_windows_from_the_start_on() -> None:
    model = adapted({range(10, 14): 0.4})
    told = series(static=flat(0.05), adapted=model, oracle=flat(0.5))
    (followed,) = figures_of(drift_figures(told, (mark("abrupt", 10),)), "adapted").drifts

    assert followed.measured and followed.recovery_windows == 7  # three windows in a row that are narrow enough
    assert followed.recovery_windows == recovery_time(0.5 - np.array(model), 10)
    assert followed.share_of_gap == pytest.approx((4 * 0.1 + 10 * 0.4 - 14 * 0.05) / (14 * 0.45))
    assert followed.forgetting is None


@pytest.mark.parametrize(
    ("drifts", "expected"),
    [
        ((mark("abrupt", 10), mark("item_birth", 14)), [(True, None), (True, 0)]),
        ((mark("popularity_burst", 10, 14),), [(True, None)]),
        ((mark("popularity_burst", 4, 14), mark("abrupt", 10)), [(False, None), (True, None)]),
        ((mark("popularity_burst", 4, 10), mark("abrupt", 10)), [(False, None), (True, 9)]),
        ((mark("gradual", 10, 14),), [(True, 9)]),
        ((mark("abrupt", 3),), [(False, None)]),
        ((mark("abrupt", 22),), [(False, None)]),
        ((mark("abrupt", 30),), [(False, None)]),
    ],
    ids=[
        "another drift comes",
        "it ends",
        "another one ends",
        "another one ends at its start",
        "its end is its last step",
        "too early",
        "too late",
        "behind the last window",
    ],
)
def test_only_windows_up_to_the_next_change_count(drifts: tuple[DriftMark, ...], expected: list[tuple[bool, int | None]]) -> None:
    told = series(static=flat(0.05), adapted=adapted({range(10, 16): 0.4}), oracle=flat(0.5))
    found = figures_of(drift_figures(told, drifts), "adapted").drifts

    assert [(one.measured, one.recovery_windows) for one in found] == expected


def test_a_concept_that_is_known_when_it_returns_was_not_forgotten() -> None:
    hours = {hour: float(number % 2 == 0) for number, hour in enumerate((8, 12, 16, 20))}
    levels = [(START_MS + hour * HOUR_MS, level) for hour, level in hours.items()]
    season = mark("recurring", 8, 20, period_ms=4 * HOUR_MS, levels=levels)
    told = series(
        static=flat(0.05), learned=adapted({range(8, 10): 0.4}), lost=adapted({range(8, 10): 0.4, range(16, 18): 0.4}),
        oracle=flat(0.5),
    )  # fmt: skip
    found = {one.model: one.drifts[0] for one in drift_figures(told, (season,))}

    # The last three windows of the first visit, one of them before it was learned, against the first three of the second.
    assert found["learned"].forgetting == pytest.approx(0.1 - (0.4 + 0.1 + 0.1) / 3)
    assert found["lost"].forgetting == pytest.approx((0.4 + 0.4 + 0.1) / 3 - (0.4 + 0.1 + 0.1) / 3)
    assert found["learned"].share_of_gap == pytest.approx((2 * 0.1 + 2 * 0.4 - 4 * 0.05) / (4 * 0.45))


def test_without_an_oracle_there_is_the_metric_alone() -> None:
    (base,) = drift_figures(series(static=flat(0.2)), (mark("abrupt", 10),))

    assert (base.ndcg, base.share_of_gap, base.regret) == (pytest.approx(0.2), None, None)
    assert not base.drifts[0].measured and base.drifts[0].share_of_gap is None


def test_without_the_base_there_is_no_share_and_a_gap_all_the_same() -> None:
    told = series(adapted=adapted({range(10, 14): 0.4}), oracle=flat(0.5))
    (found,) = drift_figures(told, (mark("abrupt", 10),))

    assert found.share_of_gap is None and found.regret is not None and found.drifts[0].recovery_windows == 7


def test_the_table_says_never_and_leaves_out_what_is_not_measured() -> None:
    drifts = (mark("abrupt", 10), mark("item_birth", 16), mark("item_death", 23))
    told = series(static=flat(0.05), adapted=adapted({range(10, 20): 0.4}), oracle=flat(0.5))
    document = {"oracle": True, "models": {one.model: one.to_json() for one in drift_figures(told, drifts)}}
    shown = drift_table({"drift": document})

    assert shown is not None
    headers, rows = shown
    assert headers == ("model", "share of gap", "regret", "recovery: abrupt", "recovery: item_birth", "recovery: item_death")
    assert rows[1] == ("adapted", "30.2", "54.0", "never", "0", "-")
    assert drift_table({}) is None and drift_table({"drift": {"oracle": False, "models": {}}}) is None
