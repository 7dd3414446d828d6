"""Session kNN: what the newest sessions like the current one contain (V-SKNN of Ludewig and Jannach, 2018); else popularity."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.baselines.contract import Facts, Ranker, Requests, TriedModel
from dynmm_core.baselines.decayed_popularity import FadingClicks
from dynmm_core.baselines.item_lists import batches, below, expand
from dynmm_core.baselines.session_table import SessionTable
from dynmm_core.baselines.sparse_ranking import Lifted, SharedScores
from dynmm_core.evidence.recents import RECENT_ITEMS

_PLACE_BITS, _SESSION_BITS, _ALIKE_BITS, _SCORE_BITS = 4, 32, 6, 10
_MOST_ALIKE, _MOST_SESSIONS = (1 << _ALIKE_BITS) - 1, (1 << _SESSION_BITS) - 1


@dataclass(frozen=True)
class SessionKnnSettings:
    """half_life_ms: of the popularity that decides where no session does; sessions: how many of an item's newest ones are
    looked at; neighbours: how many of all these count, the most alike ones, newer before older."""

    half_life_ms: int
    sessions: int = 200
    neighbours: int = 100


@dataclass(frozen=True)
class SessionKnnRanker:
    """Sums over the neighbour sessions that contain an item: how alike the session is, times how new what it shares is.

    All of it is whole numbers. With c the current session's length, RECENT_ITEMS at most, its k-th newest item weighs c - k;
    a session is as alike as the weights of the items that it shares sum to. The newest shared item, the k-th, then weighs
    RECENT_ITEMS - k.
    """

    table: SessionTable
    settings: SessionKnnSettings
    popularity: SharedScores

    def rank(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) (n,) of each target; see :class:`Ranker`."""
        length = np.minimum(requests.session_position, RECENT_ITEMS)
        low, sizes = self.table.newest(_distinct(requests.recents.items, length), self.settings.sessions)
        better, ties = np.zeros(len(requests), np.int64), np.zeros(len(requests), np.int64)
        for start, stop in batches(sizes.sum(1)):
            row, session, score = self._neighbours(low[start:stop], sizes[start:stop], length[start:stop])
            at, contents = self.table.contents(session)
            edges = np.searchsorted(row, np.arange(stop - start + 1))
            total = np.r_[0, np.cumsum(contents)]
            for first, last in batches(np.diff(total[edges])):
                some = slice(edges[first], edges[last])
                lifted = self._lifted(row[some] - first, at[some], contents[some], score[some])
                rows = np.arange(start + first, start + last)
                asked = requests.take(rows)
                better[rows], ties[rows] = self.popularity.rank(asked.targets, asked.consumed_rows, asked.consumed_items, lifted)
        return better, ties

    def said(self, requests: Requests) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what the neighbour sessions say: pairs (m,) of row and item, rising, and the sums they rank by."""
        length = np.minimum(requests.session_position, RECENT_ITEMS)
        low, sizes = self.table.newest(_distinct(requests.recents.items, length), self.settings.sessions)
        row, session, score = self._neighbours(low, sizes, length)
        at, contents = self.table.contents(session)
        return self._sums(row, at, contents, score)

    def _neighbours(self, low: np.ndarray, sizes: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Neighbours (m,) of each row, the best first: row, session, score."""
        query, at = expand(low.ravel(), sizes.ravel())
        row, place = np.divmod(query, RECENT_ITEMS)
        # Sorting packed integers is several times faster than sorting by several keys.
        packed = np.sort((row << _SESSION_BITS | self.table.session_at(at)) << _PLACE_BITS | place)
        pair = packed >> _PLACE_BITS
        first = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]][: len(pair)])
        if not len(first):
            return first, first, first
        row, session, place = pair[first] >> _SESSION_BITS, pair[first] & _MOST_SESSIONS, packed[first] & 15
        alike = np.add.reduceat(length[pair >> _SESSION_BITS] - (packed & 15), first)
        packed = (row << _ALIKE_BITS | _MOST_ALIKE - alike) << _SESSION_BITS | _MOST_SESSIONS - session
        packed = np.sort(packed << _PLACE_BITS | place)
        row = packed >> (_PLACE_BITS + _SESSION_BITS + _ALIKE_BITS)
        best = np.arange(len(row)) - np.searchsorted(row, row) < self.settings.neighbours
        packed, row = packed[best], row[best]
        alike = _MOST_ALIKE - (packed >> (_PLACE_BITS + _SESSION_BITS) & _MOST_ALIKE)
        session = _MOST_SESSIONS - (packed >> _PLACE_BITS & _MOST_SESSIONS)
        return row, session, alike * (RECENT_ITEMS - (packed & 15))

    def _lifted(self, row: np.ndarray, at: np.ndarray, contents: np.ndarray, score: np.ndarray) -> Lifted:
        rows, items, sums = self._sums(row, at, contents, score)
        return Lifted(rows, items, sums + self.popularity.scores[items])

    def _sums(
        self, row: np.ndarray, at: np.ndarray, contents: np.ndarray, score: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        neighbour, position = expand(at, contents)
        rows, items, sums = _counted(row[neighbour], self.table.item_at(position), score[neighbour])
        keep = items < len(self.popularity.scores)
        return rows[keep], items[keep], sums[keep]


def _counted(rows: np.ndarray, items: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum the scores, whole numbers, of equal pairs (row, item): the distinct pairs, sorted, with their sums."""
    if not len(rows):
        return rows, items, scores.astype(np.float64)
    # One sort of packed integers is several times faster than an argsort by which scores are taken.
    item_bits = int(items.max()).bit_length()
    packed = np.sort((rows << item_bits | items) << _SCORE_BITS | scores)
    pairs = packed >> _SCORE_BITS
    first = np.flatnonzero(np.r_[True, pairs[1:] != pairs[:-1]])
    sums = np.add.reduceat(packed & ((1 << _SCORE_BITS) - 1), first)
    return pairs[first] >> item_bits, pairs[first] & ((1 << item_bits) - 1), sums.astype(np.float64)


def _distinct(items: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Items (n, RECENT_ITEMS) of the current session alone, each at its newest place, 0 elsewhere."""
    inside = np.arange(items.shape[1]) < length[:, None]
    again = np.tril(items[:, :, None] == items[:, None, :], -1).any(2)
    return np.where(inside & ~again, items, 0)


class SessionKnn(TriedModel):
    """The newest sessions of every item, shared by all settings."""

    def __init__(self, *settings: SessionKnnSettings) -> None:
        self._settings = settings
        self._table = SessionTable(max(one.sessions for one in settings))
        self._clicks = FadingClicks([one.half_life_ms for one in settings])

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide."""
        self._table.observe(facts)
        self._clicks.observe(facts)

    def freeze_each(self, as_of_ms: int, num_items: int) -> list[Ranker]:
        """Return one ranker per setting."""
        return list(self.frozen(as_of_ms, num_items))

    def frozen(self, as_of_ms: int, num_items: int) -> list[SessionKnnRanker]:
        """Return the rankers as what they are."""
        table, clicks = self._table.frozen(), self._clicks.values(num_items)
        return [SessionKnnRanker(table, one, below(row, 1.0)) for one, row in zip(self._settings, clicks, strict=True)]
