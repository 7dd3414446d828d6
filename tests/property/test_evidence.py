"""Recents, decayed tables, pairs, candidates and context against their definitions, spelled out event by event."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.evidence import row_tops
from dynmm_core.evidence.candidates import QUERY_ITEMS, _query_weights, gather_candidates, neighbour_lists, trend_list
from dynmm_core.evidence.context import KINDS, ContextCounts, by_opening, with_kinds
from dynmm_core.evidence.decayed_table import DecayedTable, TableRows
from dynmm_core.evidence.pair_counts import REVERSE_WEIGHT, PairCounts, PairScales
from dynmm_core.evidence.recents import RECENT_ITEMS, RecentItems, Recents

HOUR_MS = 3_600_000
SLIDES = st.lists(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=25), min_size=1, max_size=4
)  # of (user, item)


def columns(slide: list[tuple[int, int]], number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    users, items = (np.array(column) for column in zip(*slide, strict=True))
    return users, items, number * HOUR_MS + np.arange(len(slide)) * 60_000


@given(SLIDES, st.booleans())
@settings(deadline=None, max_examples=60)
def test_recents_are_the_newest_items_before_each_event(log: list[list[tuple[int, int]]], within: bool) -> None:
    recent_items, past = RecentItems(), defaultdict(list)
    for number, slide in enumerate(log):
        users, items, times = columns(slide, number)
        found = recent_items.before(users, items, times, within=within)
        for row, (user, item) in enumerate(slide):
            if not within:
                past_of = past[user]
            else:
                past_of = past[user] + [(i, t) for (u, i), t in zip(slide[:row], times[:row].tolist(), strict=True) if u == user]
            newest = past_of[::-1][:RECENT_ITEMS]
            assert found.items[row].tolist() == [i for i, _ in newest] + [0] * (RECENT_ITEMS - len(newest))
            assert found.time_ms[row, : len(newest)].tolist() == [t for _, t in newest]
            assert item == items[row]
        recent_items.observe(users, items, times)
        for user, item, time in zip(users.tolist(), items.tolist(), times.tolist(), strict=True):
            past[user].append((item, time))


def test_a_table_decays_forgets_and_is_not_changed_by_what_comes_later() -> None:
    table = DecayedTable((HOUR_MS, 10 * HOUR_MS))
    table.add(np.array([3, 3, 1]), np.array([2, 2, 9]), np.array([0, HOUR_MS, 0]), np.ones((2, 3)), HOUR_MS)
    rows = table.rows(np.array([1, 2, 3]))
    assert rows.starts.tolist() == [0, 1, 1, 2] and rows.items.tolist() == [9, 2]
    assert rows.values[0].tolist() == [0.5, 1.5]
    assert table.totals(4)[0].tolist() == [0.0, 0.5, 0.0, 1.5, 0.0]
    frozen, later = table.frozen(), 200 * HOUR_MS
    table.add(np.array([5]), np.array([5]), np.array([later]), np.ones((2, 1)), later)
    assert len(table) == 1, "what has faded by every half-life is forgotten"
    assert table.rows(np.array([5])).values[:, 0].tolist() == [1.0, 1.0]
    assert frozen.rows(np.array([3])).values[0].tolist() == [1.5] and len(frozen) == 2
    assert frozen.frozen(2 * HOUR_MS).rows(np.array([3])).values[0].tolist() == [0.75]


def test_what_came_long_after_the_start_of_a_long_first_slide_leaves_a_table_finite() -> None:
    table, start = DecayedTable((HOUR_MS // 4,)), 63 * HOUR_MS // 4
    table.add(np.array([1]), np.array([1]), np.array([0]), np.ones((1, 1)), 0)
    times = start + np.array([0, HOUR_MS, 5 * HOUR_MS, 24 * HOUR_MS])
    table.add(np.ones(4, np.int64), np.arange(2, 6), times, np.ones((1, 4)), start)
    assert table.rows(np.array([1])).values[0, 1:].tolist() == [1.0, 2.0**4, 2.0**16, 2.0**16]
    assert np.isfinite(table.totals(1) ** 2).all()
    table.add(np.array([1]), np.array([9]), np.array([start + 24 * HOUR_MS]), np.ones((1, 1)), start + 24 * HOUR_MS)
    assert table.rows(np.array([1])).values[0].tolist() == [1.0], "by then all of it has faded"


@given(SLIDES)
@settings(deadline=None, max_examples=40)
def test_pairs_are_the_weighted_decayed_sums_of_their_definition(log: list[list[tuple[int, int]]]) -> None:
    scales = PairScales((HOUR_MS,), (3 * HOUR_MS,), 10 * 60_000, 2 * HOUR_MS)
    pairs, recent_items = PairCounts(scales), RecentItems()
    events: list[tuple[int, int, int]] = []
    for number, slide in enumerate(log):
        users, items, times = columns(slide, number)
        before = recent_items.before(users, items, times, within=True)
        pairs.observe(items, times, before, (number + 1) * HOUR_MS)
        recent_items.observe(users, items, times)
        events += zip(users.tolist(), items.tolist(), times.tolist(), strict=True)
    as_of = len(log) * HOUR_MS
    expected: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(2))
    for user in {u for u, _, _ in events}:
        own = [(i, t) for u, i, t in events if u == user]
        for at, (item, time) in enumerate(own):
            for lag, (other, then) in enumerate(own[max(0, at - RECENT_ITEMS) : at][::-1]):
                if other == item or time - then >= scales.co_click_gap_ms:
                    continue
                near = lag < 2 and time - then < scales.rule_gap_ms
                rule = near / (lag + 1) * 2.0 ** ((time - as_of) / HOUR_MS)
                both = 1 / (1 + 0.15 * lag) * 2.0 ** ((time - as_of) / (3 * HOUR_MS))
                expected[other, item] += np.array([rule, both])
                expected[item, other] += np.array([0.0, REVERSE_WEIGHT * both])
    every = np.arange(7)
    rows = pairs.neighbours(every)
    found = {
        (int(row), int(item)): rows.values[:, at]
        for row in every
        for at, item in zip(
            range(rows.starts[row], rows.starts[row + 1]), rows.items[rows.starts[row] : rows.starts[row + 1]], strict=True
        )
    }
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-4, abs=1e-6)
    totals = pairs.totals(6)
    for row in every:
        assert totals[:, row] == pytest.approx(sum((v for (r, _), v in expected.items() if r == row), np.zeros(2)), rel=1e-4)


def test_candidates_are_the_union_of_the_lists_with_their_sums() -> None:
    scales = PairScales((HOUR_MS,), (HOUR_MS,), HOUR_MS, HOUR_MS)
    pairs, recent_items = PairCounts(scales), RecentItems()
    users, items = np.array([1, 1, 2, 2, 3, 3]), np.array([1, 2, 1, 3, 4, 2])
    times = np.arange(6) * 1_000
    pairs.observe(items, times, recent_items.before(users, items, times, within=True), 6_000)
    queries = np.zeros((3, RECENT_ITEMS), np.int64)
    queries[0, 0], queries[1, :2] = 1, (2, 1)
    lists = neighbour_lists(pairs, queries, num_items=5, size=2)
    found = gather_candidates(
        Recents(queries, np.zeros_like(queries)), lists, np.array([5]), np.array([[0], [3], [0]]), rule_columns=1
    )
    assert found.items.tolist() == [2, 3, 5, 1, 2, 3, 4, 5, 5]
    assert found.row.tolist() == [0] * 3 + [1] * 5 + [2] and found.starts.tolist() == [0, 3, 8, 9]
    # Of the second request 2 is the newest item, 1 the one before: 3 follows 1 once, at half its weight; co-click at 1 / 1.15.
    assert found.sums[0, 3:8] == pytest.approx([0.0, 0.5, 0.5, 0.0, 0.0], rel=1e-2)
    assert found.sums[1, 5] == pytest.approx(1 / 1.15, rel=1e-2)
    assert found.totals[:, 0] == pytest.approx([2.0, 2.0], rel=1e-2)
    assert (found.cosine > 0).tolist() == (found.sums[1] > 0).tolist()
    assert QUERY_ITEMS <= RECENT_ITEMS


@given(st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 2.0, 7e-6]), max_size=9), min_size=1, max_size=9), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_the_largest_of_each_row_come_in_their_order_whatever_a_key_holds(rows: list[list[float]], size: int) -> None:
    starts = np.cumsum([0, *map(len, rows)])
    values = np.array([value for row in rows for value in row], np.float32)
    if not len(values):
        return
    expected = [
        [int(start) + at for at in sorted(range(len(row)), key=lambda at: -row[at])[:size] if row[at] > 0]
        for row, start in zip(rows, starts, strict=False)
    ]
    for key_bits in (63, 36):  # all rows at once, and only two of them or fewer
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(row_tops, "_KEY_BITS", key_bits)
            at, found = row_tops.row_tops(values, starts, size)
        assert [row[some].tolist() for row, some in zip(at, found, strict=True)] == expected


def test_what_follows_the_last_item_lifts_a_candidate_above_its_prior() -> None:
    pairs, recent_items = PairCounts(PairScales((HOUR_MS, 2 * HOUR_MS), (), HOUR_MS, HOUR_MS)), RecentItems()
    users, items, times = np.array([1, 1, 2, 2]), np.array([1, 2, 1, 3]), np.full(4, HOUR_MS)
    pairs.observe(items, times, recent_items.before(users, items, times, within=True), HOUR_MS)
    previous, row, asked = np.array([1, 1, 0, 9]), np.repeat(range(4), 3), np.array([1, 2, 0, 2, 3, 4, 1, 2, 3, 2, 3, 0])
    prior, frozen = np.full(5, 0.25), pairs.frozen(2 * HOUR_MS)
    found = frozen.lift(previous, row, asked, prior)
    by_half_life = [np.log((2.0**-power + 1.25) / (2 * 2.0**-power + 5) / 0.25) / 2 for power in (1.0, 0.5)]
    by_half_life_unseen = [np.log(1.25 / (2 * 2.0**-power + 5) / 0.25) / 2 for power in (1.0, 0.5)]
    assert found[:, 1] == pytest.approx(by_half_life, rel=1e-4)
    assert found[:, 0] == pytest.approx(by_half_life_unseen, rel=1e-4)
    assert found[:, 3] == pytest.approx(by_half_life, rel=1e-4)
    assert found[:, 5] == pytest.approx(by_half_life_unseen, rel=1e-4)
    assert not found[:, 6:].any()  # behind nothing, and behind an item that is not known yet
    assert not PairCounts(PairScales.of_next(HOUR_MS)).lift(previous, row, asked, prior).any()


def test_the_trend_list_unites_the_best_of_every_row() -> None:
    assert trend_list(np.array([[9, 1, 5, 0, 0], [9, 0, 0, 3, 0]]), size=1).tolist() == [2, 3]
    assert trend_list(np.zeros((2, 4))).tolist() == []


def test_context_says_how_much_likelier_an_item_is_there() -> None:
    counts = ContextCounts(2, HOUR_MS)
    codes = np.array([[1, 0], [1, 2], [2, 2]])
    counts.observe(codes, np.array([1, 1, 2]), np.full(3, HOUR_MS), HOUR_MS)
    table = counts.frozen(HOUR_MS).table(np.array([[1, 2]]), np.array([0, 1, 2]), np.full(3, 0.5, np.float32))
    features = table.features(np.zeros(2, np.int64), np.array([1, 2]))
    assert features[0] == pytest.approx([np.log(12 / 22 / 0.5) / 2, np.log(10 / 22 / 0.5) / 2], rel=1e-5)
    assert features[1] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_what_opens_a_session_in_a_context_is_counted_apart() -> None:
    counts, columns = ContextCounts(2, HOUR_MS), np.array([[63, 1], [63, 1], [63, 0]])
    counts.observe(by_opening(columns, np.array([0, 1, 3])), np.array([1, 2, 2]), np.full(3, HOUR_MS), HOUR_MS)
    asked = by_opening(np.full((2, 2), [63, 1]), np.array([0, 2]))
    table = counts.frozen(HOUR_MS).table(asked, np.array([0, 1, 2]), np.full(3, 0.5, np.float32))
    features = table.features(np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2]))
    opening, later = np.log(np.array([11, 10]) / 21 / 0.5) / 2, np.log(np.array([10, 12]) / 22 / 0.5) / 2
    assert features[0, :2] == pytest.approx(opening, rel=1e-5)
    assert features[0, 2:] == pytest.approx(later, rel=1e-5)
    assert features[1, :2] == pytest.approx(opening, rel=1e-5)


def test_a_requests_kind_is_its_place_in_the_session_and_in_the_history() -> None:
    codes = with_kinds(np.array([[7], [8], [9]]), np.array([0, 2, 40]), np.array([0, 5, 100]))
    assert codes.tolist() == [[7, 0, 0], [8, 2, 2], [9, 4, 4]]
    assert with_kinds(np.zeros((3, 0), np.int64), np.zeros(3), np.zeros(3)).shape == (3, KINDS)


def test_neighbours_are_the_strongest_known_ones_by_share_with_their_cosine() -> None:
    # Item 1 has 2, 3 and 9, which is not known: by counts 3 would be before 2.
    rows = TableRows(np.array([0, 0, 3]), np.array([2, 3, 9]), np.array([[6, 0, 0], [10, 30, 60]], np.float32))
    totals = np.array([[0, 6, 1, 1], [0, 100, 24, 7]], np.float32)
    pairs: Any = SimpleNamespace(neighbours=lambda ids: rows, totals_of=lambda items: totals[:, items])
    found = neighbour_lists(pairs, np.array([1]), num_items=3, size=3)
    assert found.ids.tolist() == [0, 1] and found.items.tolist() == [[0, 0, 0], [2, 3, 0]]
    assert found.cosine[1] == pytest.approx([10 / 2_401**0.5, 30 / 701**0.5, 0.0])


def test_a_table_whose_reference_moves_keeps_its_totals_and_what_one_half_life_still_holds() -> None:
    table, later = DecayedTable((HOUR_MS, 100 * HOUR_MS)), 70 * HOUR_MS
    table.add(np.array([1]), np.array([2]), np.array([0]), np.ones((2, 1)), 0)
    table.add(np.array([1]), np.array([3]), np.array([later]), np.ones((2, 1)), later)
    rows = table.rows(np.array([1]))
    assert rows.items.tolist() == [2, 3] and rows.values[1] == pytest.approx([2.0**-0.7, 1.0])
    assert table.totals(1)[:, 1] == pytest.approx([1.0, 1.0 + 2.0**-0.7])


def test_a_pair_whose_time_is_the_very_gap_is_none() -> None:
    pairs, gaps = PairCounts(PairScales((HOUR_MS,), (HOUR_MS,), 10, 20)), np.array([9, 10, 19, 20])
    before = Recents(np.ones((4, 1), np.int64), HOUR_MS - gaps[:, None])
    pairs.observe(np.arange(2, 6), np.full(4, HOUR_MS), before, HOUR_MS)
    found = pairs.neighbours(np.array([1]))
    assert found.items.tolist() == [2, 3, 4] and found.values.tolist() == [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]


def test_the_rule_hears_the_two_newest_items_and_co_click_all() -> None:
    assert _query_weights(2, 1)[0].tolist() == [1.0, 0.5] + [0.0] * (QUERY_ITEMS - 2)
    assert _query_weights(2, 1)[1] == pytest.approx(1 / (1 + 0.15 * np.arange(QUERY_ITEMS)))
