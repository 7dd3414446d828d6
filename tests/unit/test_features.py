"""s_new by hand: each column from counts one can add up."""

import numpy as np
import pytest

from dynmm_core.adapt.activity import ActivityCounters
from dynmm_core.evidence.candidate_features import (
    ItemCounts,
    item_feature_count,
    item_features,
    item_prior,
    pair_feature_count,
    pair_features,
)
from dynmm_core.evidence.candidates import Candidates
from dynmm_core.evidence.pace import ItemPace, PaceCounters, pace_feature_count, pace_features
from dynmm_core.evidence.panes import count_panes
from dynmm_core.model.features import DECAYS, HORIZONS_MS, ITEM_SUMMARY_DIM, ItemActivity, item_summary, user_summary
from dynmm_core.windows.horizons import PANE_MS

HOUR_MS = 3_600_000


def test_summary_columns_by_hand() -> None:
    horizons = len(HORIZONS_MS)
    activity = ItemActivity(
        counts=np.array([[0, 4]] * horizons), totals=np.full(horizons, 13),
        decayed=np.array([[0.0, 2.0]] * DECAYS), decayed_totals=np.full(DECAYS, 3.0),
        users_per_hour=np.array([0, 2]), first_event_ms=np.array([HOUR_MS, 0]), last_event_ms=np.array([HOUR_MS, HOUR_MS]),
        in_base=np.array([False, True]),
    )  # fmt: skip
    unseen, seen = item_summary(activity, as_of_ms=2 * HOUR_MS)
    assert len(seen) == ITEM_SUMMARY_DIM
    share = np.log(4.3 / 43 * 1_000) / 3
    decayed = np.log(2.3 / 33 * 1_000) / 3
    assert seen == pytest.approx(
        [*[share] * horizons, *[decayed] * DECAYS, 0.0, 0.0, 0.5, np.log(3) / 5, np.log(2) / 5, 0.0], rel=1e-5
    )
    assert unseen[-4:] == pytest.approx([0.0, np.log(2) / 5, np.log(2) / 5, 1.0], rel=1e-5)


def test_user_summary_by_hand() -> None:
    found = user_summary(np.array([0, 7]), np.array([0, 3 * HOUR_MS]), np.array([0, 2]))
    assert found[0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert found[1] == pytest.approx([1.0, 0.0, np.log(3) / 2, np.log(8) / 3, np.log(4) / 5, 0.0], rel=1e-6)


def test_panes_count_events_and_distinct_users() -> None:
    panes = count_panes(np.array([1, 1, 2, 2]), np.array([5, 5, 5, 6]), np.array([0, 1, 2, PANE_MS]))
    assert panes.pane_start_ms.tolist() == [0, PANE_MS]
    assert panes.item_idx.tolist() == [5, 6]
    assert panes.events.tolist() == [3, 1]
    assert panes.users.tolist() == [2, 1]


def test_an_item_is_active_while_the_longest_horizon_holds_an_event_of_it() -> None:
    counters = ActivityCounters((HOUR_MS,) * DECAYS, base_items=2)
    events = np.array([1]), np.array([2]), np.array([0])
    counters.observe(count_panes(*events), events[1], events[2])
    assert counters.freeze(PANE_MS, 2).active.tolist() == [False, False, True]
    week = max(HORIZONS_MS)
    assert counters.freeze(week, 2).active.tolist() == [False, False, True]
    later = counters.freeze(week + PANE_MS, 2)
    assert not later.active.any() and not later.summaries.any()
    assert later.events.tolist() == [0, 0, 1]


def test_the_pace_of_an_item_by_hand() -> None:
    minute = 60_000
    counters = PaceCounters(15 * minute)
    times = np.array([1, 40, 47, 52, 58, 59]) * minute
    users, items = np.array([1, 1, 2, 2, 3, 1]), np.array([1, 1, 1, 2, 1, 2])
    counters.observe(count_panes(users, items, times), items, times - np.where(items == 1, 1, 52) * minute)
    counters.observe_places(users, items, times, np.array([0, 0, 0, 1, 0, 1]))
    pace = counters.freeze(60 * minute, 2, np.array([0, 4, 2]))
    assert pace.spans[:, 1:].tolist() == [[1, 1], [1, 2], [2, 2], [3, 2], [4, 2]]
    assert pace.early.tolist() == [0, 1, 2]
    # Panes end at :05, :45, :50 and :60; the unit is the half-life.
    assert pace.openings[0] == pytest.approx([0.0, 2 ** (-55 / 15) + 0.5 + 2 ** (-10 / 15) + 1.0, 0.0])
    assert pace.openings[3] == pytest.approx([0.0, 0.0, 2 ** (-5 / 60) + 1.0])
    features = pace_features(pace, np.array([0, 1]), np.array([0.0, 59 / 60]))
    assert len(features) == pace_feature_count()
    assert features[6] == pytest.approx([0.0, np.log(3 / 2)])
    assert features[7] == pytest.approx([0.0, np.log(4 / 2)])
    assert features[8:10, 1] == pytest.approx([np.log(2) / 3, np.log(5) / 5])
    assert features[10, 1] == pytest.approx(np.log(4.3 / (59 / 60 + 0.25)) / 3)


def test_the_pace_of_slow_items_spans_days_not_months() -> None:
    day = 24 * HOUR_MS
    counters = PaceCounters(60 * day)
    for number in range(6):
        events = np.array([1]), np.array([1]), np.array([number * day])
        counters.observe(count_panes(*events), events[1], events[2])
    assert counters.freeze(5 * day + HOUR_MS, 1, np.zeros(2)).spans[-1].tolist() == [0, 4]


def test_a_candidates_own_features_by_hand() -> None:
    hours = np.arange(1, 8)
    horizons = np.stack([np.zeros(7, np.int64), hours, 10 * hours], axis=1)  # shortest horizon first; item 2 ten times item 1
    decayed = np.array([[0.0, 1.0, 3.0], [0.0, 2.0, 2.0]])
    none = np.zeros(3, np.int64)
    pace = ItemPace(np.zeros((5, 3), np.int64), np.zeros((4, 3)), none, none)
    first, last = np.array([0, HOUR_MS, 0]), np.array([0, 3 * HOUR_MS, 2 * HOUR_MS])
    counts = ItemCounts(4 * HOUR_MS, horizons, decayed, first, last, np.array([True, False, True]), pace)
    found = item_features(counts, np.array([1]))[:, 0]
    assert len(item_features(counts, np.array([1]))) == item_feature_count(7, 2)
    share = np.log((hours + 0.3) / (11 * hours + 30) * 1_000) / 3
    faded = np.log((np.array([1, 2]) + 0.3) / (4 + 30) * 1_000) / 3
    assert found[:14] == pytest.approx(
        [*share, *faded, share[0] - share[2], share[2] - share[4], np.log(4) / 5, np.log(2) / 5, 1.0], rel=1e-5
    )
    assert item_prior(counts) == pytest.approx([0.3 / 34, 2.3 / 34, 2.3 / 34], rel=1e-5)


def test_what_pairs_say_of_a_candidate_by_hand() -> None:
    # Two requests: item 1 for the first, items 1 and 2 for the second; a rule's column, then co-click's.
    sums = np.array([[2.0, 0.0, 0.0], [3.0, 0.0, 1.0]], np.float32)
    totals, cosine = np.array([[4.0, 0.0], [6.0, 2.0]], np.float32), np.array([0.5, 0.0, 0.25], np.float32)
    candidates = Candidates(np.array([0, 1, 3]), np.array([0, 1, 1]), np.array([1, 1, 2]), sums, totals, cosine)
    found = pair_features(candidates, np.array([0.0, 0.1, 0.2], np.float32))
    assert len(found) == pair_feature_count(2)
    lifts = [[2.5 / 9 / 0.1, 1.0, 1.0], [3.5 / 11 / 0.1, 0.5 / 7 / 0.1, 2.0 / 7 / 0.2]]
    assert found[:2] == pytest.approx(np.log(lifts) / 2, rel=1e-5, abs=1e-6)
    assert found[2] == pytest.approx(np.log([0.501, 0.001, 0.251]) / 3, rel=1e-5) and found[3].tolist() == [1.0, 0.0, 1.0]


def test_growth_compares_a_unit_with_the_one_before_and_two_with_the_two_before() -> None:
    none = np.zeros(2, np.int64)
    pace = ItemPace(np.array([[0, 1], [0, 2], [0, 3], [0, 5], [0, 12]]), np.zeros((4, 2)), none, none)
    assert pace_features(pace, np.array([1]), np.zeros(1))[6:8, 0] == pytest.approx([np.log(4 / 3), np.log(6 / 8)])
