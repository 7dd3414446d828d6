"""The candidates of a request: trend lists, neighbours of the user's newest items, nearest latents; with their pair evidence."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.evidence.pair_counts import PairCounts
from dynmm_core.evidence.recents import Recents
from dynmm_core.evidence.row_tops import row_tops

QUERY_ITEMS = 8
NEIGHBOURS = 48
TREND_ITEMS = 50
_PLACE_BITS = 12


@dataclass(frozen=True)
class NeighbourLists:
    """The strongest neighbours of the items ``ids`` (d,), rising, never empty.

    ``items`` (d, k), 0 behind the end; ``values`` (columns, d, k) their pair counts; ``totals`` (columns, d) all of an item's;
    ``cosine`` (d, k): of co-click with the longest half-life.
    """

    ids: np.ndarray
    items: np.ndarray
    values: np.ndarray
    totals: np.ndarray
    cosine: np.ndarray


@dataclass(frozen=True)
class Candidates:
    """Candidates ``items`` (m,) of n requests, one request's behind the other's, rising, and what pairs say of them.

    Request r has those from ``starts[r]`` to ``starts[r + 1]``; ``row`` (m,) is the request of each.
    ``sums`` (columns, m): pair counts of the request's newest items, weighted by place, out of ``totals`` (columns, n);
    ``cosine`` (m,): summed likewise.
    """

    starts: np.ndarray
    row: np.ndarray
    items: np.ndarray
    sums: np.ndarray
    totals: np.ndarray
    cosine: np.ndarray


def neighbour_lists(pairs: PairCounts, items: np.ndarray, num_items: int, size: int = NEIGHBOURS) -> NeighbourLists:
    """Return the ``size`` strongest neighbours of every item in ``items``, by its share summed over all columns."""
    ids = np.unique(items)
    ids = np.unique(np.r_[0, ids[ids <= num_items]])  # padding is an item without neighbours
    rows = pairs.neighbours(ids)
    totals = pairs.totals_of(ids)
    row = np.repeat(np.arange(len(ids)), np.diff(rows.starts))
    share = np.zeros(len(row), np.float32)
    for value, total in zip(rows.values, totals, strict=True):
        share += value / np.maximum(total, 1e-9)[row]
    share[rows.items > num_items] = 0.0
    if not len(share):
        none = np.zeros((len(ids), size), np.float32)
        return NeighbourLists(ids, none.astype(np.int64), np.zeros((len(totals), *none.shape), np.float32), totals, none)
    at, found = row_tops(share, rows.starts, size)
    neighbours = np.where(found, rows.items[at], 0)
    values = np.where(found, rows.values[:, at], 0.0)
    expected = np.sqrt(totals[-1][:, None] * pairs.totals_of(neighbours)[-1] + 1.0)
    return NeighbourLists(ids, neighbours, values, totals, values[-1] / expected)


def trend_list(scores: np.ndarray, size: int = TREND_ITEMS) -> np.ndarray:
    """Return the union (t,) of the ``size`` best items by each row of ``scores`` (rows, num_items + 1), none of them at 0."""
    found = [np.zeros(0, np.int64)]
    for row in scores:
        items = np.flatnonzero(row[1:]) + 1
        found.append(items[np.argsort(-row[items], kind="stable")[:size]])
    return np.unique(np.concatenate(found))


def gather_candidates(
    recents: Recents, lists: NeighbourLists, shared: np.ndarray, own: np.ndarray, rule_columns: int
) -> Candidates:  # fmt: skip
    """Unite the lists of each request, and sum what the pairs say.

    Args:
        recents: of the requests (n); lists: of the items among them; shared: (t,) candidates of every request;
        own: (n, m) each request's further ones, 0 for none; rule_columns: how many columns are the rule's.
    """
    queries = recents.items[:, :QUERY_ITEMS]
    at_list = np.minimum(np.searchsorted(lists.ids, queries), len(lists.ids) - 1)
    at_list = np.where(lists.ids[at_list] == queries, at_list, 0)
    n, size = len(queries), lists.items.shape[1]
    neighbours = lists.items[at_list].reshape(n, QUERY_ITEMS * size)
    starts, row, items, which, place = _unite(np.c_[neighbours, np.broadcast_to(shared, (n, len(shared))), own])
    said = np.flatnonzero(place < QUERY_ITEMS * size)
    which, place = which[said], place[said]
    query, k = np.divmod(place, size)
    source = at_list[row[which], query] * size + k
    weights = _query_weights(len(lists.values), rule_columns)
    sums = np.empty((len(weights), len(items)), np.float32)
    for column, (values, weight) in enumerate(zip(lists.values, weights, strict=True)):
        sums[column] = np.bincount(which, values.ravel()[source] * weight[query], len(items))
    cosine = np.bincount(which, lists.cosine.ravel()[source] * weights[-1][query], len(items))
    totals = np.einsum("cnq,cq->cn", lists.totals[:, at_list], weights)
    return Candidates(starts, row, items, sums, totals.astype(np.float32), cosine.astype(np.float32))


def _unite(every: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Take the distinct items of each row of ``every`` (n, w), 0 for none.

    Returns:
        Where each row's items start (n + 1,); the row of each (m,); the items (m,), rising in a row; and for all that is not 0
        in ``every``, which of these it is, rising, and its place in its row (both (e,)).
    """
    n, width = every.shape
    # One sort of packed integers is several times faster than an argsort.
    packed = np.sort(every << _PLACE_BITS | np.arange(width), axis=1)
    item = packed >> _PLACE_BITS
    some = np.flatnonzero(item)
    fresh = item > 0
    fresh[:, 1:] &= item[:, 1:] != item[:, :-1]
    sizes = fresh.sum(1)
    which = np.cumsum(fresh.ravel())[some] - 1
    place = packed.ravel()[some] & ((1 << _PLACE_BITS) - 1)
    return np.r_[0, np.cumsum(sizes)], np.repeat(np.arange(n), sizes), item[fresh], which, place


def _query_weights(columns: int, rule_columns: int) -> np.ndarray:
    """What the k-th newest item weighs (columns, QUERY_ITEMS): the rule hears two of them, co-click all."""
    k = np.arange(QUERY_ITEMS)
    return np.where(np.arange(columns)[:, None] < rule_columns, np.where(k < 2, 1.0 / (k + 1), 0.0), 1.0 / (1.0 + 0.15 * k))
