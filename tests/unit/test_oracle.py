"""The oracle's ranks and strata, event by event, against the protocol as one would write it down."""

from dataclasses import replace

import numpy as np
import pytest

from dynmm_core.times import HOUR_MS
from replay.oracle import RankedRange, oracle_ranks, oracle_windows
from replay.past import Line, Past
from simulators.schedule import parse_schedule
from simulators.settings import StreamSettings, cut_time_ms
from simulators.stream import Stream, draw_stream, previous_items
from simulators.truth import Truth
from simulators.world import World, make_world

SETTINGS = StreamSettings(events=2_000, users=80, items=240, online_hours=6, topics=4, segments=2)
CUT = SETTINGS.history_events
BIRTHS = """
[[drift]]
kind = "item_birth"
start = "2h"
items = 0.2
magnitude = 0.5
"""
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SETTINGS, parse_schedule(BIRTHS, "births").drift)


@pytest.fixture(scope="module")
def stream(world: World) -> Stream:
    """A stream with an event at the very start of every hour, by the user just before it; one of them is a new item's first."""
    drawn = draw_stream(world)
    hours = drawn.event_time_ms // HOUR_MS * HOUR_MS
    first = np.flatnonzero(np.diff(hours, prepend=0))
    time, item, user = drawn.event_time_ms.copy(), drawn.item.copy(), drawn.user.copy()
    time[first], user[first] = hours[first], user[np.maximum(first - 1, 0)]
    births = cut_time_ms() + 2 * HOUR_MS
    born = np.bincount(item[(hours == births) & np.isin(item, world.drifts[0].items)]).argmax()
    item[first[hours[first] == births]] = born
    return replace(drawn, user=user, item=item, event_time_ms=time)


def past_of(stream: Stream, line: Line) -> Past:
    return Past(stream.user, stream.item, stream.event_time_ms, line)


def by_hand(truth: Truth, past: Past, row: int, *, keep_consumed: bool) -> tuple[int, int]:
    """(better, ties) of one event, looking at every earlier one."""
    line, time = past.line, int(past.event_time_ms[row])
    slide = time // line.slide_ms * line.slide_ms
    known = {int(past.item[j]) for j in range(row) if past.event_time_ms[j] < slide}
    consumed = set()
    for j in range(row):
        end = int(past.event_time_ms[j]) // line.slide_ms * line.slide_ms + line.slide_ms
        shown = line.shown_after_ms is None or j < line.cut_row or end + line.shown_after_ms <= time
        if past.user[j] == past.user[row] and shown:
            consumed.add(int(past.item[j]))
    target = int(past.item[row])
    if target not in known:
        return -1, 0
    if not keep_consumed and target in consumed:
        return 0, 0
    before = previous_items(past.user, past.item, past.event_time_ms)[row : row + 1]
    chance = truth.probabilities(past.user[row : row + 1], past.event_time_ms[row : row + 1], before)[0]
    rivals = known - {target} - (set() if keep_consumed else consumed)
    scores = np.array([chance[item] for item in rivals])
    return int((scores > chance[target]).sum()), int((scores == chance[target]).sum())


@pytest.mark.parametrize("keep_consumed", [True, False])
@pytest.mark.parametrize("shown_after_ms", [None, 0, 40 * MINUTE_MS])
@pytest.mark.parametrize("slide_ms", [15 * MINUTE_MS, 2 * HOUR_MS])
def test_ranks_are_those_of_the_protocol(
    world: World, stream: Stream, slide_ms: int, shown_after_ms: int | None, keep_consumed: bool
) -> None:
    past, truth = past_of(stream, Line(CUT, slide_ms, shown_after_ms)), Truth.of(world)
    rows = np.unique(np.r_[CUT : CUT + 60, CUT : SETTINGS.events : 4])

    better, ties = oracle_ranks(truth, past, rows, keep_consumed=keep_consumed)

    expected = [by_hand(truth, past, row, keep_consumed=keep_consumed) for row in rows.tolist()]
    assert list(zip(better.tolist(), ties.tolist(), strict=True)) == expected
    assert (better == -1).any() and (better > 0).any()


@pytest.mark.parametrize("cut_ms", [cut_time_ms(), cut_time_ms() + 5 * HOUR_MS // 2], ids=["on the hour", "amid births"])
def test_strata_are_what_lay_before_each_event(stream: Stream, cut_ms: int) -> None:
    cut_row = int(np.searchsorted(stream.event_time_ms, cut_ms))
    past = past_of(stream, Line(cut_row, HOUR_MS))
    strata = past.strata()
    for row in range(cut_row, SETTINGS.events, 3):
        user, item, time = past.user[row], past.item[row], past.event_time_ms[row]
        same_item = [j for j in range(row) if past.item[j] == item]
        known = any(past.event_time_ms[j] < time // HOUR_MS * HOUR_MS for j in same_item)
        counted = sum(j < cut_row or past.event_time_ms[j] < time // HOUR_MS * HOUR_MS for j in same_item)
        mine = [j for j in range(row) if past.user[j] == user]
        cold_item, cold_user = not known or counted < 5, len(mine) < 5
        found = {name for name, mask in strata.items() if mask[row]}
        assert ("cold_item" in found, "cold_user" in found) == (cold_item, cold_user)
        assert ("warm" in found) == (not cold_item and not cold_user)
        assert ("new_item" in found) == (not any(j < cut_row for j in same_item))
        assert ("new_user" in found) == (not any(j < cut_row for j in mine))
        running = bool(mine) and time - past.event_time_ms[mine[-1]] <= 30 * MINUTE_MS
        assert ("session_later" in found) == running


def test_the_slide_of_the_cut_counts_what_it_has_and_knows_what_came_before_it() -> None:
    """Six clicks before the cut in its own slide make item 0 no known one; item 1 had some before, and has six by the cut."""
    item = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1])
    minutes = np.array([0, 1, 2, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71])
    past = Past(np.arange(14), item, minutes * MINUTE_MS, Line(12, HOUR_MS))

    assert past.strata()["cold_item"][12:].tolist() == [True, False]


def test_an_item_is_consumed_from_the_very_moment_its_version_is_published() -> None:
    user, item = np.zeros(4, np.int64), np.array([0, 1, 2, 3])
    past = Past(user, item, np.array([30, 90, 129, 130]) * MINUTE_MS, Line(1, HOUR_MS, shown_after_ms=10 * MINUTE_MS))

    assert past.consumed().before(np.array([1, 2, 3]), 4).tolist() == [
        [True, False, False, False], [True, False, False, False], [True, True, False, False],
    ]  # fmt: skip


def test_only_the_range_asked_for_is_ranked(world: World, stream: Stream) -> None:
    past, truth = past_of(stream, Line(CUT, HOUR_MS)), Truth.of(world)
    times = past.event_time_ms
    whole = RankedRange(0, int(times[-1]) + 1, keep_consumed=True)
    part = replace(whole, from_ms=int(times[CUT + 100]), to_ms=int(times[CUT + 300]))

    def events(ranked: RankedRange) -> int:
        return sum(row.n for row in oracle_windows(truth, past, ranked) if row.stratum == "all")

    assert (events(whole), events(part)) == (SETTINGS.events - CUT, 200)
