"""The pre-training tail: the last tenth before the cut, on which everything that depends on data is chosen."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.evidence.panes import count_panes
from dynmm_core.model.bundle import CutState

TAIL_SHARE = 0.1
SLIDE_MS = 3_600_000


@dataclass(frozen=True)
class Tail:
    """Where the tail begins in the events before the cut.

    row: first event of the tail, never inside one millisecond; items, users: indices 1 … items, users have an event
    before it; start_ms: start of its first slide.
    """

    row: int
    items: int
    users: int
    start_ms: int

    @classmethod
    def of(cls, cut: CutState) -> "Tail":
        """Place the tail at the last tenth of the events."""
        times = cut.event_time_ms
        nominal = int(len(times) * (1.0 - TAIL_SHARE))
        row = int(np.searchsorted(times, times[nominal]))
        items, users = int(cut.item_idx[:row].max(initial=0)), int(cut.user_idx[:row].max(initial=0))
        return cls(row, items, users, start_of_slide(times[row]))


def start_of_slide(time_ms: int, slide_ms: int = SLIDE_MS) -> int:
    """Return the start of the slide that holds ``time_ms``; slides begin at whole multiples since the epoch."""
    return int(time_ms) // slide_ms * slide_ms


def items_known_at(cut: CutState, moment_ms: int) -> int:
    """Return the largest index of an item with an event before ``moment_ms``; all smaller ones have one, too.

    Indices follow first event times. The slide that holds the cut begins before it, so that an item first seen in
    that slide is not known at the end of the slide before, although the base knows it.
    """
    row = int(np.searchsorted(cut.event_time_ms, moment_ms))
    return int(cut.item_idx[:row].max(initial=0))


def slides(cut: CutState, first_row: int, slide_ms: int = SLIDE_MS) -> Iterator[SlideEvents]:
    """Yield the non-empty slides of the events from ``first_row`` on."""
    times = cut.event_time_ms[first_row:]
    number = times // slide_ms
    edges = np.r_[np.flatnonzero(np.r_[True, number[1:] != number[:-1]]), len(times)] + first_row
    for start, stop in pairwise(edges):
        users, items, when = (a[start:stop] for a in (cut.user_idx, cut.item_idx, cut.event_time_ms))
        end_ms = start_of_slide(when[0], slide_ms) + slide_ms
        yield SlideEvents(end_ms, users, items, when, count_panes(users, items, when), cut.context[start:stop])
