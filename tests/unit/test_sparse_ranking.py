"""Ranks by shared scores with a few lifted items equal a sort over every row's own scores; lists are cut as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynmm_core.baselines.contract import Facts
from dynmm_core.baselines.item_lists import ItemLists, batches, below, expand, summed
from dynmm_core.baselines.session_knn import _distinct
from dynmm_core.baselines.session_table import SessionTable
from dynmm_core.baselines.sparse_ranking import Lifted, SharedScores
from dynmm_core.evidence.decayed_table import TableRows
from tests.streams import facts, in_slides, stream

ITEMS = 8
scores = st.lists(st.integers(0, 4), min_size=ITEMS, max_size=ITEMS)
# Items beyond the known ones are named, too; they are no candidates.
some_items = st.sets(st.integers(0, ITEMS + 2), max_size=6)
cases = st.lists(st.tuples(st.integers(-1, ITEMS + 2), some_items, st.dictionaries(st.integers(0, ITEMS + 2), st.integers(0, 6))))


@given(shared=scores, rows=cases)
def test_ranks_equal_a_full_sort_of_every_row(shared: list[int], rows: list[tuple[int, set[int], dict[int, int]]]) -> None:
    consumed = [(row, item) for row, (_, seen, _) in enumerate(rows) for item in seen]
    lifted = [(row, item, lift[item]) for row, (_, _, lift) in enumerate(rows) for item in sorted(lift)]
    better, ties = SharedScores(np.array([99.0, *shared])).rank(
        np.array([target for target, _, _ in rows], np.int64), *columns(consumed, 2), Lifted(*columns(lifted, 3))
    )
    for row, (target, seen, lift) in enumerate(rows):
        own = {item: lift.get(item, shared[item - 1]) for item in range(1, ITEMS + 1) if item == target or item not in seen}
        if target not in own:
            assert (better[row], ties[row]) == (-1, 0)
            continue
        assert better[row] == sum(score > own[target] for score in own.values())
        assert ties[row] == sum(score == own[target] for score in own.values()) - 1


def columns(rows: list[tuple[int, ...]], width: int) -> tuple[np.ndarray, ...]:
    return tuple(np.array([row[k] for row in rows], np.int64) for k in range(width))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5), st.integers(-3, 9)), max_size=40))
def test_sums_of_pairs(pairs: list[tuple[int, int, int]]) -> None:
    rows, items, sums = summed(*columns(pairs, 3))
    expected: dict[tuple[int, int], int] = {}
    for row, item, score in pairs:
        expected[row, item] = expected.get((row, item), 0) + score
    assert [((r, i), s) for r, i, s in zip(rows, items, sums, strict=True)] == sorted(expected.items())


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12))
def test_batches_hold_every_row_once_and_few_pairs(sizes: list[int], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dynmm_core.baselines.item_lists.PAIRS_AT_ONCE", most)
        found = batches(np.array(sizes, np.int64))
    assert [row for start, stop in found for row in range(start, stop)] == list(range(len(sizes)))
    assert all(start < stop and sum(sizes[start : stop - 1]) < most for start, stop in found)


def test_expanded_ranges() -> None:
    rows, at = expand(np.array([5, 9, 1]), np.array([2, 0, 3]))
    assert rows.tolist() == [0, 0, 2, 2, 2] and at.tolist() == [5, 6, 1, 2, 3]


def test_a_list_keeps_its_best_known_items_the_smaller_index_where_they_tie() -> None:
    values = np.array([2.0, 3.0, 3.0, 9.0, 3.0, 0.0, 1.0])
    rows = TableRows(np.array([0, 5, 5, 7]), np.array([1, 2, 3, 90, 6, 4, 5]), values[None])
    lists = ItemLists.of(np.array([3, 4, 7]), rows, values, num_items=10, size=2)
    assert lists.starts.tolist() == [0, 2, 2, 3]
    assert lists.items.tolist() == [2, 3, 5] and lists.scores.tolist() == [3.0, 3.0, 1.0]


def test_popularity_stays_below_and_in_order() -> None:
    clicks = np.array([0.0, 1e-9, 7.0, 0.0, 1e6])
    shared = below(clicks, 1e-3).scores
    assert np.array_equal(np.argsort(shared, kind="stable"), np.argsort(clicks, kind="stable")) and shared.max() < 1e-3
    assert below(np.zeros(3), 1.0).scores.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("most_ms", [900_000, 300_000])
def test_forgetting_sessions_changes_no_answer(most_ms: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = zip(rng.integers(1, 9, 600), rng.integers(1, 12, 600), rng.integers(0, most_ms, 600), strict=True)
    whole, pruned = SessionTable(size), SessionTable(size)
    items = np.arange(1, 12)
    for slide in in_slides(stream([(int(a), int(b), int(c)) for a, b, c in rows])):
        for table, limit in ((whole, 10**9), (pruned, 0)):
            monkeypatch.setattr("dynmm_core.baselines.session_table.PRUNED_PAIRS", limit)
            table._prune_at = limit
            table.observe(facts(slide))
        assert newest(whole, items, size) == newest(pruned, items, size)
    assert len(pruned) < 0.8 * len(whole)


def newest(table: SessionTable, items: np.ndarray, size: int) -> list[tuple[int, list[list[int]]]]:
    """Of each item, its newest sessions with what they contain."""
    found = []
    for item, low, found_size in zip(items, *table.newest(items, size), strict=True):
        sessions = table.session_at(np.arange(low, low + found_size))
        starts, sizes = table.contents(sessions)
        found.append((int(item), [table.item_at(np.arange(a, a + b)).tolist() for a, b in zip(starts, sizes, strict=True)]))
    return found


def test_a_user_first_seen_within_a_session_gets_one() -> None:
    table = SessionTable(3)
    slide = facts(in_slides(stream([(1, 1, 0), (1, 2, 1), (2, 1, 1)]))[0])
    late = Facts(*(getattr(slide, name) for name in ("slide_end_ms", "user_idx", "item_idx", "event_time_ms")),
                 session_position=slide.session_position + 3, recents=slide.recents)  # fmt: skip
    table.observe(late)
    _, sizes = table.newest(np.array([1, 2]), 3)
    assert sizes.tolist() == [2, 1]


def test_an_item_clicked_twice_in_a_session_counts_once_at_its_newest_place() -> None:
    items = np.array([[5, 6, 5, 7, 6, 8], [5, 5, 0, 0, 0, 0]])
    assert _distinct(items, np.array([5, 1])).tolist() == [[5, 6, 0, 7, 0, 0], [5, 0, 0, 0, 0, 0]]
