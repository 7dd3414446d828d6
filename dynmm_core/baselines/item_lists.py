"""Scores that come from a request's newest items: each of them names others, and what they say is summed."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.baselines.contract import Requests
from dynmm_core.baselines.sparse_ranking import Lifted, SharedScores
from dynmm_core.evidence.decayed_table import TableRows
from dynmm_core.evidence.row_tops import row_tops

PAIRS_AT_ONCE = 4_000_000
# float32 counts say nothing below this part of the largest one; there popularity decides.
SMALLEST_SHARE = 2.0**-24


@dataclass(frozen=True)
class ItemLists:
    """What distinct items ``ids`` (d,), rising, say of others: row r has ``items[starts[r]:starts[r + 1]]``, ``scores`` alike."""

    ids: np.ndarray
    starts: np.ndarray
    items: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, rows: TableRows, scores: np.ndarray, num_items: int, size: int) -> "ItemLists":
        """Keep of each row's known items with a positive score the ``size`` best ones; the smaller index where they tie."""
        row = np.repeat(np.arange(len(ids)), np.diff(rows.starts))
        keep = np.flatnonzero((scores > 0) & (rows.items <= num_items))
        row, items, scores = row[keep], rows.items[keep], scores[keep]
        counts = np.bincount(row, minlength=len(ids))
        if counts.max(initial=0) > size:
            at, found = row_tops(scores.astype(np.float32), np.r_[0, np.cumsum(counts)], size)
            best = np.sort(at[found])
            row, items, scores = row[best], items[best], scores[best]
        starts = np.searchsorted(row, np.arange(len(ids) + 1))
        return cls(ids, starts, items, scores.astype(np.float64))

    def rank(
        self, requests: Requests, weights: np.ndarray, shared: SharedScores, smallest: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) (n,) where the k-th newest item's list counts ``weights[k]``, and below all of them ``shared``.

        Args:
            smallest: a sum at or below it is none; the shared scores lie below it, too.
        """
        low, sizes = self._lists(requests.recents.items[:, : len(weights)])
        better, ties = np.zeros(len(requests), np.int64), np.zeros(len(requests), np.int64)
        for start, stop in batches(sizes.sum(1)):
            rows = np.arange(start, stop)
            lifted = self._lifted(low[rows], sizes[rows], weights, shared, smallest)
            some = requests.take(rows)
            better[rows], ties[rows] = shared.rank(some.targets, some.consumed_rows, some.consumed_items, lifted)
        return better, ties

    def _lists(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where each query's list starts, and its length, both (n, q)."""
        if not len(self.ids):
            return np.zeros_like(queries), np.zeros_like(queries)
        at = np.minimum(np.searchsorted(self.ids, queries), len(self.ids) - 1)
        return self.starts[at], np.where(self.ids[at] == queries, self.starts[at + 1] - self.starts[at], 0)

    def _lifted(self, low: np.ndarray, sizes: np.ndarray, weights: np.ndarray, shared: SharedScores, smallest: float) -> Lifted:
        query, at = expand(low.ravel(), sizes.ravel())
        row, place = np.divmod(query, len(weights))
        rows, items, sums = summed(row, self.items[at], self.scores[at] * weights[place])
        keep = sums > smallest
        rows, items = rows[keep], items[keep]
        return Lifted(rows, items, sums[keep] + shared.scores[items])


def expand(low: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (row, position) of every position of the ranges low … low + size - 1."""
    rows = np.repeat(np.arange(len(low)), sizes)
    inside = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rows, np.repeat(low, sizes) + inside


def summed(rows: np.ndarray, items: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum the scores of equal pairs (row, item), in the order given; return the distinct pairs, sorted, with their sums."""
    keys, inverse = np.unique(rows << 32 | items, return_inverse=True)
    return keys >> 32, keys & 0xFFFFFFFF, np.bincount(inverse, scores, len(keys))


def batches(sizes: np.ndarray) -> list[tuple[int, int]]:
    """Split rows of so many pairs into runs (start, stop) of about ``PAIRS_AT_ONCE`` pairs."""
    number = (np.cumsum(sizes) - sizes) // PAIRS_AT_ONCE
    edges = np.r_[np.flatnonzero(np.r_[True, number[1:] != number[:-1]]), len(sizes)] if len(sizes) else np.zeros(1, np.int64)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def below(clicks: np.ndarray, smallest: float) -> SharedScores:
    """Scale popularity (num_items + 1,) to stay below ``smallest``: it decides where nothing else does."""
    peak = float(clicks.max(initial=0.0))
    return SharedScores(clicks / peak * (0.5 * smallest) if peak > 0 else clicks)
