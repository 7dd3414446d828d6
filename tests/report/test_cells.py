"""Sums by bucket of time, their intervals, and how many points a chart gets."""

import numpy as np
import pytest

from dynmm_core.metrics.wilson import wilson_interval
from dynmm_core.times import DAY_MS
from replay.html.cells import BUCKETS_MS, WINDOW_MS, Cells, fitting_bucket_ms

DAY = 19_700 * DAY_MS


def row(start_ms: int, model: str, n: int, ndcg10: float) -> list[object]:
    return [start_ms, model, n, 0.0, 0.0, 0.0, 0.0, ndcg10, 0.0]


def test_windows_are_added_up_by_day_whatever_their_order() -> None:
    cells = Cells.of_rows(
        [row(DAY + 23 * WINDOW_MS, "a", 10, 2.0), row(DAY, "a", 30, 6.0), row(DAY + DAY_MS, "a", 5, 5.0), row(DAY, "b", 30, 3.0)],
        ["b", "a"],
    )

    days = cells.by(DAY_MS)

    assert days.starts_ms.tolist() == [DAY, DAY + DAY_MS]
    assert days.n.tolist() == [[30, 0], [40, 5]]
    assert days.means("ndcg@10")[days.of("a")].tolist() == [0.2, 1.0]
    assert np.isnan(days.means("ndcg@10")[days.of("b"), 1]), "who ranked nothing has no mean"
    assert cells.total("a", "ndcg@10") == 13.0


def test_a_run_without_windows_has_no_points() -> None:
    cells = Cells.of_rows([], ["a"])

    assert cells.by(DAY_MS).means("ndcg@10").shape == (1, 0)
    assert fitting_bucket_ms(cells.starts_ms, 10) == WINDOW_MS


@pytest.mark.parametrize(
    ("windows", "bucket_ms"), [(1, WINDOW_MS), (100, WINDOW_MS), (101, 3 * WINDOW_MS), (2_400, DAY_MS), (10**5, BUCKETS_MS[-1])]
)
def test_the_bucket_grows_with_the_number_of_windows(windows: int, bucket_ms: int) -> None:
    assert fitting_bucket_ms(DAY + WINDOW_MS * np.arange(windows), 100) == bucket_ms


def test_the_interval_covers_the_mean_of_values_between_0_and_1() -> None:
    rng = np.random.default_rng(0)
    draws = rng.random((4_000, 60)) ** 2
    low, high = wilson_interval(draws.mean(1), np.full(len(draws), 60))

    covered = ((low <= 1 / 3) & (high >= 1 / 3)).mean()
    assert covered >= 0.95, "values between 0 and 1 have less variance than those that are either"
    np.testing.assert_allclose(wilson_interval(np.array([0.5]), np.array([100])), [[0.40383], [0.59617]], atol=1e-5)
    assert wilson_interval(np.array([0.0]), np.array([3]))[1] > 0.3, "three misses prove little"
    assert np.isnan(wilson_interval(np.array([np.nan]), np.array([0]))).all()
