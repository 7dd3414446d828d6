"""Item pairs equal a walk over each user's sequence; slides, buckets and storage in between change nothing."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.windows import pair_sums as sums_module
from dynmm_core.windows import pairs as pairs_module
from dynmm_core.windows.pair_sums import PAIR_SCHEMA, merge_pairs
from dynmm_core.windows.pairs import Pairs, PairSettings
from dynmm_core.windows.tails import UserTails
from tests.pairing import pairs_of

START_MS = 1_700_000_000_000
SMALL = PairSettings(rule_lags=2, rule_gap_ms=4, co_click_lags=3, co_click_gap_ms=9)
ALL_SETTINGS = [PairSettings(), SMALL, PairSettings(1, 1, 1, 1), PairSettings(4, 9, 4, 9), PairSettings(3, 5, 12, 5)]
Log = list[tuple[int, int, int]]  # (event_time_ms, user, item), in canonical order
Sums = dict[tuple[int, int], tuple[int, int]]

hashes = st.one_of(st.integers(0, 6), st.integers(2**64 - 4, 2**64 - 1), st.sampled_from([1 << 63, 5 << 40]))
steps = st.lists(st.tuples(st.sampled_from([0, 0, 1, 2, 5, 10]), st.integers(0, 3), hashes), max_size=60)
scales = st.sampled_from([1, 900_000, 43_200_000])


def walk(log: Log, settings: PairSettings) -> Sums:
    """The definition, event by event."""
    sums: Sums = defaultdict(lambda: (0, 0))
    sequences: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for time, user, item in log:
        for lag, (earlier, previous) in enumerate(reversed(sequences[user]), start=1):
            rule = round(65536 / lag) if lag <= settings.rule_lags and time - earlier < settings.rule_gap_ms else 0
            within = lag <= settings.co_click_lags and time - earlier < settings.co_click_gap_ms
            if within and previous != item:
                before = sums[previous, item]
                sums[previous, item] = (before[0] + rule, before[1] + round(65536 / (1 + 0.15 * (lag - 1))))
        sequences[user].append((time, item))
    return dict(sums)


def as_log(moves: Log, scale: int) -> Log:
    times = START_MS + np.cumsum([step for step, _, _ in moves], dtype=np.int64) * scale
    return [(int(time), user, item) for time, (_, user, item) in zip(times, moves, strict=True)]


def count(
    tails: UserTails, log: Log, settings: PairSettings, slide_end_ms: int | None = None
) -> tuple[Pairs, UserTails]:  # fmt: skip
    times = np.array([time for time, _, _ in log], np.int64)
    users, items = (np.array([event[place] for event in log], np.uint64) for place in (1, 2))
    end_ms = slide_end_ms if slide_end_ms is not None else (log[-1][0] if log else START_MS) + 1
    return pairs_of(tails, users, items, times, end_ms, settings)


def as_sums(table: pa.Table) -> Sums:
    assert table.schema == PAIR_SCHEMA
    rows = {(row["previous_item"], row["item"]): (row["rule"], row["co_click"]) for row in table.to_pylist()}
    assert list(rows) == sorted(rows) and len(rows) == table.num_rows
    return rows


@settings(max_examples=200, deadline=None)
@given(moves=steps, scale=scales, pairs=st.sampled_from(ALL_SETTINGS), block=st.sampled_from([1, 7, 1 << 14]))
def test_pairs_equal_a_walk_over_the_log_whatever_the_size_of_a_block(
    moves: Log, scale: int, pairs: PairSettings, block: int
) -> None:
    log = as_log(moves, scale)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs_module, "_BLOCK_ROWS", block)
        counts, _ = count(UserTails.empty(), log, pairs)
    assert as_sums(counts.to_table()) == walk(log, pairs)


@settings(max_examples=200, deadline=None)
@given(
    moves=steps,
    scale=scales,
    pairs=st.sampled_from(ALL_SETTINGS),
    cuts=st.lists(st.integers(0, 60), max_size=12),
    late_ends=st.booleans(),
    stored=st.booleans(),
)
def test_any_cut_into_slides_gives_the_pairs_of_one_slide(
    moves: Log, scale: int, pairs: PairSettings, cuts: list[int], late_ends: bool, stored: bool
) -> None:
    log = as_log(moves, scale)
    bounds = [0, *sorted(min(cut, len(log)) for cut in cuts), len(log)]
    tails, tables = UserTails.empty(), []
    for start, stop in pairwise(bounds):
        # A slide's end lies behind its events and not behind the next one; equal times may be on both sides of a cut here.
        next_ms = log[stop][0] if stop < len(log) else START_MS + 10**12
        end_ms = next_ms if late_ends else (log[stop - 1][0] if stop else START_MS)
        counts, tails = count(tails, log[start:stop], pairs, end_ms)
        tails = UserTails.from_bytes(tails.to_bytes()) if stored else tails
        tables.append(counts.to_table())
    assert as_sums(merge_pairs(tables)) == walk(log, pairs)


@settings(max_examples=100, deadline=None)
@given(moves=steps, scale=scales, pairs=st.sampled_from(ALL_SETTINGS), wait_ms=st.sampled_from([0, 1, 8, 86_000_000, 10**12]))
def test_tails_are_the_newest_items_within_reach_and_survive_storage(
    moves: Log, scale: int, pairs: PairSettings, wait_ms: int
) -> None:
    log = as_log(moves, scale)
    end_ms = (log[-1][0] if log else START_MS) + wait_ms
    _, tails = count(UserTails.empty(), log, pairs, end_ms)
    expected = []
    for user in sorted({user for _, user, _ in log}):
        newest = [(time, item) for time, other, item in log if other == user][-pairs.co_click_lags :]
        reached = [entry for entry in newest if entry[0] > end_ms - pairs.co_click_gap_ms]
        expected += [(user, len(reached), reached)] if reached else []

    entries = list(zip(tails.event_time_ms.tolist(), tails.item_hash.tolist(), strict=True))
    ends = np.cumsum(tails.lengths, dtype=np.int64).tolist()
    found = [
        (user, length, entries[end - length : end])
        for user, length, end in zip(tails.user_hash.tolist(), tails.lengths.tolist(), ends, strict=True)
    ]
    assert found == expected
    assert len(entries) == sum(length for _, length, _ in expected)

    payload = tails.to_bytes()
    again = UserTails.from_bytes(payload)
    assert again.to_bytes() == payload
    for name in ("user_hash", "lengths", "item_hash", "event_time_ms"):
        restored, original = getattr(again, name), getattr(tails, name)
        assert restored.dtype == original.dtype
        assert restored.tolist() == original.tolist()


@settings(max_examples=100, deadline=None)
@given(moves=steps, cuts=st.lists(st.integers(0, 60), max_size=4))
def test_equal_states_are_equal_bytes_however_they_came_about(moves: Log, cuts: list[int]) -> None:
    log = as_log(moves, 1)
    end_ms = (log[-1][0] if log else START_MS) + 1
    _, whole = count(UserTails.empty(), log, SMALL, end_ms)
    tails = UserTails.empty()
    bounds = [0, *sorted(min(cut, len(log)) for cut in cuts), len(log)]
    for start, stop in pairwise(bounds):
        _, tails = count(tails, log[start:stop], SMALL, log[stop - 1][0] if stop else START_MS)
    _, tails = count(tails, [], SMALL, end_ms)
    assert tails.to_bytes() == whole.to_bytes()


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 4), hashes, hashes, st.integers(0, 2**50), st.integers(0, 2**50)), max_size=60),
    block=st.sampled_from([1, 5, 1 << 14]),
)
def test_merging_is_a_sum_in_any_order_and_grouping(rows: list[tuple[int, int, int, int, int]], block: int) -> None:
    parts: list[Sums] = [{} for _ in range(5)]
    total: Sums = defaultdict(lambda: (0, 0))
    for part, previous, item, *weights in rows:
        if (previous, item) not in parts[part]:
            parts[part][previous, item] = (weights[0], weights[1])
            before = total[previous, item]
            total[previous, item] = (before[0] + weights[0], before[1] + weights[1])
    columns = [list(zip(*((*pair, *sums) for pair, sums in sorted(part.items())), strict=True)) or [()] * 4 for part in parts]
    tables = [pa.Table.from_arrays([pa.array(column, kind) for column, kind in zip(part, PAIR_SCHEMA.types, strict=True)],
                                   schema=PAIR_SCHEMA) for part in columns]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums_module, "_BLOCK_ROWS", block)
        assert as_sums(merge_pairs(tables)) == dict(total)
        grouped = merge_pairs([merge_pairs(tables[3:]), tables[2], merge_pairs(tables[:2])])
        chunked = merge_pairs([piece for table in tables for piece in (table.slice(0, 3), table.slice(3))])
    assert grouped.equals(merge_pairs(tables))
    assert chunked.equals(grouped)
