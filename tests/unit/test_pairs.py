"""What a pair is, what it weighs, and what is refused."""

import numpy as np
import pytest

from dynmm_core.windows.pair_sums import PAIR_SCHEMA, merge_pairs
from dynmm_core.windows.pairs import WEIGHT_ONE, PairSettings
from dynmm_core.windows.tails import UserTails
from tests.pairing import pairs_of

MINUTE, HOUR = 60_000, 3_600_000
END_MS = 100 * HOUR


def counted(*events: tuple[int, int, int], tails: UserTails | None = None) -> dict[tuple[int, int], tuple[int, int]]:
    """Pairs of events (user, item, ms before the slide's end)."""
    users, items, before_ms = np.array(events, np.int64).T
    state = UserTails.empty() if tails is None else tails
    found, _ = pairs_of(state, users.astype(np.uint64), items.astype(np.uint64), END_MS - before_ms, END_MS, PairSettings())
    columns = [column.to_pylist() for column in found.to_table().columns]
    return {(previous, item): sums for previous, item, *sums in zip(*columns, strict=True)}


def test_lags_weigh_less_the_further_back() -> None:
    found = counted((7, 1, 40 * MINUTE), (7, 2, 30 * MINUTE), (7, 3, 20 * MINUTE), (7, 4, 10 * MINUTE))
    assert found[3, 4] == [WEIGHT_ONE, WEIGHT_ONE]
    assert found[2, 4] == [WEIGHT_ONE // 2, 56_988]
    assert found[1, 4] == [0, 50_412]
    assert len(found) == 6


def test_a_gap_of_the_whole_length_is_outside() -> None:
    assert counted((7, 1, HOUR), (7, 2, 0)) == {(1, 2): [0, WEIGHT_ONE]}
    assert counted((7, 1, HOUR - 1), (7, 2, 0)) == {(1, 2): [WEIGHT_ONE, WEIGHT_ONE]}
    assert counted((7, 1, 24 * HOUR - 1), (7, 2, 0)) == {(1, 2): [0, WEIGHT_ONE]}
    assert counted((7, 1, 24 * HOUR), (7, 2, 0)) == {}


def test_an_item_is_no_pair_with_itself_but_takes_its_place() -> None:
    assert counted((7, 1, 30), (7, 2, 20), (7, 2, 10)) == {(1, 2): [WEIGHT_ONE + WEIGHT_ONE // 2, WEIGHT_ONE + 56_988]}


def test_users_do_not_meet() -> None:
    assert counted((7, 1, 30), (8, 2, 20), (7, 3, 10)) == {(1, 3): [WEIGHT_ONE, WEIGHT_ONE]}


def test_the_eleventh_item_back_is_out_of_reach() -> None:
    found = counted(*((7, item, 100 - item) for item in range(12)))
    assert (1, 11) in found and (0, 11) not in found


def test_one_pair_may_come_very_often() -> None:
    times = 200_000  # more than fit into half an integer
    events = np.arange(times)
    counts, _ = pairs_of(
        UserTails.empty(),
        np.zeros(times, np.uint64),
        (events % 2).astype(np.uint64),
        events,
        HOUR,
        PairSettings(1, HOUR, 1, HOUR),
    )
    table = counts.to_table()
    assert table["item"].to_pylist() == [1, 0]
    assert table["rule"].to_pylist() == [times // 2 * WEIGHT_ONE, (times // 2 - 1) * WEIGHT_ONE]
    assert table["co_click"].equals(table["rule"])


def test_items_whose_hashes_differ_in_their_last_bits_alone_stay_apart_when_merged() -> None:
    column = np.arange(1000, dtype=np.uint64)
    counts, _ = pairs_of(UserTails.empty(), np.zeros(1000, np.uint64), column, np.zeros(1000, np.int64), HOUR, PairSettings())
    table = counts.to_table()
    twice = merge_pairs([table, table])
    assert twice.select(["previous_item", "item"]).equals(table.select(["previous_item", "item"]))
    assert twice["co_click"].to_numpy().tolist() == (2 * table["co_click"].to_numpy()).tolist()


@pytest.mark.parametrize(("items", "bits"), [((1 << 16) - 1, 16), (1 << 16, 32)])
def test_the_highest_number_is_no_item_however_many_there_are(items: int, bits: int) -> None:
    hashes = np.arange(items, dtype=np.uint64)
    users, times = hashes // np.uint64(2), np.full(items, END_MS - 1)
    found, _ = pairs_of(UserTails.empty(), users, hashes, times, END_MS, PairSettings())
    assert (found.previous.dtype.itemsize * 8, len(found)) == (bits, items // 2)
    table = found.to_table()
    assert table["previous_item"].to_pylist() == list(range(0, items - 1, 2))
    assert table["item"].to_pylist() == list(range(1, items, 2))


def test_a_user_with_ten_items_takes_169_bytes() -> None:
    users = np.repeat(np.arange(100, dtype=np.uint64), 10)
    _, tails = pairs_of(UserTails.empty(), users, users, np.full(1000, END_MS - 1), END_MS, PairSettings())
    header, _, body = tails.to_bytes().partition(b"\n")
    assert len(body) == 169 * 100
    assert header == b'{"entries":1000,"users":100,"version":1}'


def test_entries_that_no_later_event_can_reach_are_dropped_and_users_without_any() -> None:
    users, items = np.array([5, 4, 4], np.uint64), np.array([1, 2, 3], np.uint64)
    times = END_MS - np.array([24 * HOUR, 24 * HOUR, 24 * HOUR - 1])
    _, tails = pairs_of(UserTails.empty(), users, items, times, END_MS, PairSettings())
    assert (tails.user_hash.tolist(), tails.lengths.tolist(), tails.item_hash.tolist()) == ([4], [1], [3])
    for time_ms, reached in ((END_MS, [WEIGHT_ONE]), (END_MS + 1, [])):
        counts, _ = pairs_of(tails, users[1:2], items[1:2], np.array([time_ms]), END_MS + HOUR, PairSettings())
        assert counts.to_table()["co_click"].to_pylist() == reached


def test_a_state_of_another_version_or_cut_short_is_refused() -> None:
    payload = UserTails.empty().to_bytes()
    with pytest.raises(ValueError, match="version 2, not 1"):
        UserTails.from_bytes(payload.replace(b'"version":1', b'"version":2'))
    with pytest.raises(ValueError, match="0 bytes behind the header instead of 9"):
        UserTails.from_bytes(payload.replace(b'"users":0', b'"users":1'))


def test_a_part_out_of_order_is_not_merged() -> None:
    table = PAIR_SCHEMA.empty_table().from_pydict(
        {"previous_item": [2, 1], "item": [1, 2], "rule": [0, 0], "co_click": [1, 1]}, PAIR_SCHEMA
    )
    with pytest.raises(ValueError, match="not in order"):
        merge_pairs([table])
    assert merge_pairs([]).equals(PAIR_SCHEMA.empty_table())


@pytest.mark.parametrize("settings", [(0, 1, 1, 1), (3, 1, 2, 1), (1, 1, 256, 1), (1, 0, 1, 1), (1, 2, 1, 1)])
def test_a_rule_that_reaches_further_than_co_click_is_refused(settings: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="must rise from 1"):
        PairSettings(*settings)
