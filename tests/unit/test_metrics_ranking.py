"""Ranking metrics: values one can check by hand, ties by the closed form, permutation invariance."""

import numpy as np
import pytest
from scipy.stats import norm

from dynmm_core.metrics.bootstrap import block_bootstrap_ratio
from dynmm_core.metrics.ranking import METRICS, expected_metrics
from dynmm_core.metrics.significance import ratio_of_sums


def figures(better: int, ties: int) -> dict[str, float]:
    row = expected_metrics(np.array([better]), np.array([ties]))[0]
    return dict(zip(METRICS, row.tolist(), strict=True))


def test_a_sole_best_target_scores_one_everywhere() -> None:
    assert set(figures(0, 0).values()) == {1.0}


def test_third_place_has_the_discount_of_rank_three() -> None:
    assert figures(2, 0)["ndcg@5"] == pytest.approx(1 / np.log2(4))


def test_a_target_behind_the_cutoff_counts_only_for_longer_lists() -> None:
    found = figures(12, 0)
    assert found["hr@10"] == 0.0
    assert found["hr@20"] == 1.0


@pytest.mark.parametrize("candidates", [1, 7, 10, 250, 3_000])
def test_a_constant_scorer_hits_ten_in_n(candidates: int) -> None:
    assert figures(0, candidates - 1)["hr@10"] == pytest.approx(min(1.0, 10 / candidates))


@pytest.mark.parametrize(("better", "ties"), [(0, 3), (4, 1), (8, 5), (9, 0), (3, 40)])
def test_ties_equal_the_mean_over_every_order(better: int, ties: int) -> None:
    each = np.array([expected_metrics(np.array([better + place]), np.array([0]))[0] for place in range(ties + 1)])
    assert expected_metrics(np.array([better]), np.array([ties]))[0] == pytest.approx(each.mean(0))


def test_a_target_that_is_no_candidate_is_a_miss() -> None:
    assert set(figures(-1, 0).values()) == {0.0}


def test_bootstrap_of_equal_series_is_exactly_one() -> None:
    series = np.random.default_rng(0).random(72)
    assert block_bootstrap_ratio(series, series, 6, seed=1) == pytest.approx((1.0, 1.0, 1.0))


def test_bootstrap_interval_covers_the_ratio_and_widens_with_noise() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(240) + 1.0
    ratio, low, high = block_bootstrap_ratio(1.2 * base, base, 24, seed=1)
    assert ratio == pytest.approx(1.2) and low == pytest.approx(1.2) and high == pytest.approx(1.2)
    _, noisy_low, noisy_high = block_bootstrap_ratio(base * rng.normal(1.2, 0.3, 240), base, 24, seed=1)
    assert noisy_low < 1.2 < noisy_high


@pytest.mark.parametrize(("windows", "block"), [(24, 6), (57, 6), (240, 24)])
@pytest.mark.parametrize("correlation", [0.0, 0.4])
def test_bootstrap_intervals_hold_the_ratio_as_often_as_they_say(windows: int, block: int, correlation: float) -> None:
    rng, streams = np.random.default_rng(windows), 150
    noise = rng.standard_normal((streams, windows + 20))
    for now in range(1, windows + 20):
        noise[:, now] = correlation * noise[:, now - 1] + np.sqrt(1 - correlation**2) * noise[:, now]
    events = rng.uniform(50, 150, (streams, windows))
    sums = events * (1.1 + 0.1 * noise[:, 20:])
    bounds = [block_bootstrap_ratio(sums[one], events[one], block, seed=one, draws=500)[1:] for one in range(streams)]
    held = np.mean([low <= 1.1 <= high for low, high in bounds])
    assert held >= 0.86, "where windows are taken one by one, or the percentiles as they are, it is less"


def test_the_interval_of_independent_windows_is_student_s_on_either_side() -> None:
    tops = np.random.default_rng(0).permutation(1.1 + 0.1 * norm.ppf((np.arange(12) + 0.5) / 12))
    ratio, low, high = block_bootstrap_ratio(tops, np.ones(12), 1, seed=0, draws=100_000)
    theirs_low, theirs_high = ratio_of_sums(tops, np.ones(12)).interval()
    assert ratio - low == pytest.approx(ratio - theirs_low, rel=0.025)
    assert high - ratio == pytest.approx(theirs_high - ratio, rel=0.025)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    tops = np.random.default_rng(0).random(24)
    first, again, other = (block_bootstrap_ratio(tops, np.ones(24), 6, seed) for seed in (0, 0, 1))
    assert first == again and first[0] == other[0] and first[1:] != other[1:]


def test_a_draw_has_as_many_windows_as_the_stream_though_blocks_do_not_fill_it() -> None:
    # Of nine windows the first is drawn three times at most: by two blocks of four, and by what is left of the third.
    assert block_bootstrap_ratio(np.eye(9)[0], np.ones(9), 4, seed=0) == pytest.approx((1 / 9, 0.0, 3 / 9))


def test_two_blocks_are_enough_for_an_interval() -> None:
    ratio, low, high = block_bootstrap_ratio(np.arange(6.0), np.ones(6), 3, seed=0)
    assert 0.0 < low < ratio < high < 5.0


def test_one_block_says_nothing() -> None:
    assert block_bootstrap_ratio(np.ones(5), np.ones(5), 3, seed=0) == (1.0, -np.inf, np.inf)


def test_bootstrap_without_windows_says_so() -> None:
    with pytest.raises(ValueError, match="0 windows"):
        block_bootstrap_ratio(np.zeros(0), np.zeros(0), 6, seed=1)


def test_every_window_is_drawn_equally_often_the_first_and_the_last_too(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    monkeypatch.setattr(np, "quantile", lambda ratios, *_, **__: drawn.append(float(ratios.mean())) or (0.0, 1.0))
    for window in (0, 12, 23):
        block_bootstrap_ratio(np.eye(24)[window], np.ones(24), 6, seed=0, draws=20_000)
    assert 24 * np.array(drawn) == pytest.approx(1.0, abs=0.05)


def test_draws_without_any_denominator_are_infinite_and_no_bound_is_nan() -> None:
    ratio, low, high = block_bootstrap_ratio(np.ones(24), np.repeat([1.0, 0.0], [6, 18]), 6, seed=0)
    assert (ratio, high) == (4.0, np.inf) and 1.0 < low < 4.0
