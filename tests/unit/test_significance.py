"""Intervals, tests and equivalence over blocks: by hand, against SciPy's own tests, and in the limits."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dynmm_core.metrics import significance
from dynmm_core.metrics.significance import Estimate, block_sums, holm, ratio_of_sums, signed_rank_p_value

ONES = np.ones(4)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(significance).failed == 0


def test_a_ratio_of_sums_by_hand() -> None:
    # Sums 3 of 6 and 1 of 2 give 4 / 8; residuals 3 - 3 and 1 - 1 vanish.
    assert ratio_of_sums(np.array([3.0, 1.0]), np.array([6.0, 2.0])) == Estimate(0.5, 0.0, 1)
    # Sums 4 of 6 and 0 of 2 give 4 / 8; residuals +1 and -1: √(2 / 1 · 2) / 8.
    assert ratio_of_sums(np.array([4.0, 0.0]), np.array([6.0, 2.0])) == Estimate(0.5, 0.25, 1)


def test_where_blocks_weigh_alike_it_is_the_paired_t_test() -> None:
    one, other = np.array([3.0, 5.0, 4.0, 8.0]), np.array([2.0, 5.5, 2.0, 5.0])
    found, theirs = ratio_of_sums(one - other, ONES), stats.ttest_rel(one, other)
    assert found.p_value() == pytest.approx(theirs.pvalue)
    assert found.interval() == pytest.approx(tuple(theirs.confidence_interval()))


def test_a_block_of_double_weight_counts_as_two() -> None:
    merged = ratio_of_sums(np.array([4.0, 1.0, 0.0]), np.array([2.0, 1.0, 1.0]))
    apart = ratio_of_sums(np.array([2.0, 2.0, 1.0, 0.0]), ONES)
    assert merged.value == apart.value


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    weights = random.integers(50, 200, (2_000, 24)).astype(float)
    sums = weights * (0.3 + 0.1 * random.standard_normal(weights.shape))
    bounds = [ratio_of_sums(top, bottom).interval() for top, bottom in zip(sums, weights, strict=True)]
    assert np.mean([low <= 0.3 <= high for low, high in bounds]) == pytest.approx(0.95, abs=0.015)


def test_equivalence_is_two_one_sided_tests_and_agrees_with_the_90_percent_interval() -> None:
    found = Estimate(0.5, 0.5, 10)
    upper, lower = stats.t.cdf((0.5 - 2.0) / 0.5, 10), stats.t.sf((0.5 + 2.0) / 0.5, 10)
    assert found.equivalence_p_value(2.0) == pytest.approx(max(upper, lower))
    for margin in (1.0, 1.4, 1.5, 2.0):
        low, high = found.interval(significance.EQUIVALENCE_CONFIDENCE)
        assert (found.equivalence_p_value(margin) < 0.05) == (-margin < low and high < margin)


def test_without_any_spread_a_figure_is_certain() -> None:
    assert Estimate(0.0, 0.0, 5).p_value() == 1.0
    assert Estimate(0.1, 0.0, 5).p_value() == 0.0
    assert Estimate(0.1, 0.0, 5).equivalence_p_value(0.2) == 0.0
    assert Estimate(0.3, 0.0, 5).equivalence_p_value(0.2) == 1.0
    assert signed_rank_p_value(np.zeros(5)) == 1.0


def test_the_signed_rank_test_leaves_zeros_out() -> None:
    # All of three signs alike: 2 of 8 ways are as far out.
    assert signed_rank_p_value(np.array([0.1, 0.2, 0.0, 0.3])) == pytest.approx(0.25)


def test_holm_by_hand() -> None:
    # 4 · 0.01, then 3 · 0.015 = 0.045, 2 · 0.02 = 0.04 raised to it, 0.5 alone.
    assert holm([0.5, 0.01, 0.02, 0.015]) == pytest.approx([0.5, 0.04, 0.045, 0.045])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_the_value_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for one, kept in zip(p_values, adjusted, strict=True):
        assert one <= kept <= min(1.0, len(p_values) * one) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_blocks_add_up_and_the_last_may_be_shorter() -> None:
    values = np.arange(7)
    assert block_sums(values, 3).tolist() == [3, 12, 6]
    assert block_sums(values, 9).tolist() == [21]


@pytest.mark.parametrize(("top", "bottom"), [([1.0], [2.0]), ([1.0, -1.0], [1.0, -1.0])])
def test_one_block_or_nothing_to_divide_by_is_refused(top: list[float], bottom: list[float]) -> None:
    with pytest.raises(ValueError, match="ratio_of_sums"):
        ratio_of_sums(np.array(top), np.array(bottom))
