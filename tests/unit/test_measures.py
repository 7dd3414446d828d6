"""Figures about drift, against hand-made ones."""

from itertools import permutations

import numpy as np
import pytest

from simulators.measures import Detections, detections, expected_ndcg, forgetting, recovery_time, regret, visits


def test_expected_ndcg_is_the_mean_over_what_may_be_drawn() -> None:
    chance = np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4]])
    found = expected_ndcg(chance, np.array([[4.0, 3.0, 2.0, 1.0]] * 2), k=2)
    second = 1 / np.log2(3)
    assert found == pytest.approx([0.5 + 0.3 * second, 0.1 + 0.2 * second])


def test_equal_scores_are_ranked_in_every_order_equally_often() -> None:
    chance, scores = np.array([0.4, 0.1, 0.2, 0.3]), np.array([1.0, 2.0, 1.0, 1.0])
    worth = [1.0, 1 / np.log2(3), 0.5, 0.0]
    orders = [order for order in permutations(range(4)) if order[0] == 1]
    by_hand = np.mean([sum(chance[item] * worth[place] for place, item in enumerate(order)) for order in orders])
    assert expected_ndcg(chance[None], scores[None], k=3)[0] == pytest.approx(by_hand)


def test_no_ranking_is_to_expect_more_than_that_by_the_chances_themselves() -> None:
    rng = np.random.default_rng(0)
    chance = rng.dirichlet(np.full(30, 0.3), 200)
    best = expected_ndcg(chance, chance)
    assert (expected_ndcg(chance, rng.random((200, 30))) <= best).all()
    assert (expected_ndcg(chance, np.zeros((200, 30))) < best).all()


def test_regret_adds_up_over_events() -> None:
    lost = regret(np.array([0.5, 0.5, np.nan, 0.4]), np.array([0.4, 0.5, np.nan, 0.5]), np.array([10, 20, 0, 5]))
    assert lost == pytest.approx([1.0, 1.0, 1.0, 0.5])


def test_the_first_alarm_of_a_drift_detects_it_and_those_of_none_are_false() -> None:
    found = detections([95, 250, 107, 110, 300], [(100, 200), (300, 400), (500, 600)])
    assert found == Detections((7, 0, None), 2)
    assert detections([], [(100, 200)]) == Detections((None,), 0)


@pytest.mark.parametrize(
    ("after", "windows"),
    [
        ([1.1, 1.1, 1.1, 0.5, 0.3, 0.19, 0.19, 0.19, 0.1], 8),
        ([1.1, 0.1, 1.1, 0.1, 0.1, 0.1], 6),  # a single good window is no recovery
        ([0.2, 0.6, 1.1, 1.1, 1.1, 0.1, 0.1, 0.1], 8),  # it opens little by little
        ([1.1, 1.1, 1.1, 0.3, 0.3, 0.3], None),
        ([0.1, 0.1, 0.0], 0),
    ],
)
def test_recovery_counts_windows_until_nine_tenths_of_the_gap_are_regained(after: list[float], windows: int | None) -> None:
    gap = np.array([0.0, 0.2, 0.1, 0.1, *after])
    assert recovery_time(gap, 4, before=4) == windows


def test_recovery_needs_windows_before_and_after() -> None:
    with pytest.raises(ValueError, match="it takes 6 before it"):
        recovery_time(np.zeros(20), 3)
    with pytest.raises(ValueError, match="3 after"):
        recovery_time(np.zeros(20), 18)


def test_forgetting_compares_a_return_with_the_parting_before_it() -> None:
    #               first visit          away        second visit         away  third
    gap = np.array([0.9, 0.2, 0.2, 0.2, 0.5, 0.5, 0.8, 0.8, 0.2, 0.1, 0.1, 0.9, 0.3, 0.1])
    assert forgetting(gap, [(0, 4), (6, 11), (12, 14)], edge=2) == pytest.approx(((0.8 - 0.2) + (0.2 - 0.1)) / 2)
    with pytest.raises(ValueError, match="two"):
        forgetting(gap, [(0, 4)])


def test_visits_of_both_concepts_are_read_from_the_levels() -> None:
    levels = [(100, 1.0), (120, 0.0), (140, 1.0), (150, 0.0)]
    assert visits(levels, 80, 200) == [(100, 120), (140, 150)]
    assert visits(levels, 80, 200, level=0.0) == [(80, 100), (120, 140), (150, 200)]
