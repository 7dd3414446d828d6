"""What lay before each event of a log, for all events at once: the facts that strata and candidates of a replay follow from."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dynmm_core.adapt.strata import masks
from dynmm_core.model.features import SESSION_GAP_MS


@dataclass(frozen=True)
class Line:
    """The protocol's lines in time: rows before ``cut_row`` are pre-training, slides take ``slide_ms``.

    shown_after_ms: how long after the end of its slide an event may be known (version history); None: at once (event history).
    """

    cut_row: int
    slide_ms: int
    shown_after_ms: int | None = None


@dataclass(frozen=True)
class Past:
    """The events of a log in its order: user and item, numbers from 0, and event_time_ms, each (n,)."""

    user: np.ndarray
    item: np.ndarray
    event_time_ms: np.ndarray
    line: Line

    @property
    def slide_start_ms(self) -> np.ndarray:
        """The start (n,) of each event's slide."""
        starts: np.ndarray = self.event_time_ms // self.line.slide_ms * self.line.slide_ms
        return starts

    def first_seen_ms(self, items: int) -> np.ndarray:
        """The first event of each of ``items`` items; far in the future for those that never come."""
        first = np.full(items, np.iinfo(np.int64).max)
        np.minimum.at(first, self.item, self.event_time_ms)
        return first

    def strata(self) -> dict[str, np.ndarray]:
        """Masks (n,) of :func:`dynmm_core.adapt.strata.masks`, as the stream itself tells them."""
        rows, cut = np.arange(len(self.user)), self.line.cut_row
        slide_row = np.searchsorted(self.event_time_ms, self.slide_start_ms)
        counted = _count_before(self.item, np.maximum(slide_row, cut))
        # What came first in the slide of the cut itself is counted, but known only when that slide has ended.
        known = _first_row(self.item) < slide_row
        sessions = _places(self.user, self.event_time_ms)
        new_item, new_user = (_first_row(column) >= cut for column in (self.item, self.user))
        return masks(counted * known, _count_before(self.user, rows), new_item, new_user, sessions)

    def consumed(self) -> "Consumed":
        """Who had consumed what at each event, as far as the history shows."""
        rows = np.arange(len(self.user))
        if self.line.shown_after_ms is None:
            return Consumed.of(self.user, self.item, rows, rows)
        shown = self.slide_start_ms + self.line.slide_ms + self.line.shown_after_ms
        shown[: self.line.cut_row] = np.iinfo(np.int64).min
        return Consumed.of(self.user, self.item, shown, self.event_time_ms + 1)


@dataclass(frozen=True)
class Consumed:
    """Items by user: the pairs of a log, each once, by user and item, with the mark from which it is ``shown``.

    An event knows the pairs that are shown before its own mark ``asked`` (n,).
    """

    user: np.ndarray
    asked: np.ndarray
    first: np.ndarray
    pair_item: np.ndarray
    pair_shown: np.ndarray

    @classmethod
    def of(cls, user: np.ndarray, item: np.ndarray, shown: np.ndarray, asked: np.ndarray) -> "Consumed":
        """``shown`` (n,) rises along the log, so that the first event of a pair decides."""
        width = int(item.max(initial=0)) + 1
        pairs, row = np.unique(user * width + item, return_index=True)
        first = np.searchsorted(pairs, np.arange(int(user.max(initial=0)) + 2) * width)
        return cls(user, asked, first, pairs % width, shown[row])

    def before(self, rows: np.ndarray, items: int) -> np.ndarray:
        """Which of ``items`` items each of the events ``rows`` (b,) knows as consumed, (b, items) bool."""
        low = self.first[self.user[rows]]
        sizes = self.first[self.user[rows] + 1] - low
        place = np.repeat(np.arange(len(rows)), sizes)
        at = np.arange(len(place)) + np.repeat(low - (np.cumsum(sizes) - sizes), sizes)
        known = self.pair_shown[at] < self.asked[rows[place]]
        found = np.zeros((len(rows), items), bool)
        found[place[known], self.pair_item[at[known]]] = True
        return found


def blocks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Cut rows (n,) into blocks of at most ``size``."""
    yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _first_row(key: np.ndarray) -> np.ndarray:
    """For each row (n,) the first one with the same key, a number from 0."""
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    found: np.ndarray = first[inverse]
    return found


def _count_before(key: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """How many rows ahead of row ``bound`` (n,) have each row's key, a number from 0."""
    rows = len(key)
    packed = np.sort(key * (rows + 1) + np.arange(rows))
    count: np.ndarray = np.searchsorted(packed, key * (rows + 1) + bound) - np.searchsorted(packed, key * (rows + 1))
    return count


def _places(user: np.ndarray, event_time_ms: np.ndarray) -> np.ndarray:
    """How many events of its session lie before each event (n,)."""
    order = np.argsort(user, kind="stable")
    users, times = user[order], event_time_ms[order]
    starts = np.ones(len(users), bool)
    starts[1:] = (users[1:] != users[:-1]) | (times[1:] - times[:-1] > SESSION_GAP_MS)
    rows = np.arange(len(users))
    places = np.empty(len(users), np.int64)
    places[order] = rows - np.maximum.accumulate(np.where(starts, rows, 0))
    return places
