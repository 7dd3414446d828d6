"""The candidates of a request: trend lists, neighbours of the user's newest items, nearest latents; with their pair evidence."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.evidence.pair_counts import PairCounts
from dynmm_core.evidence.recents import Recents

QUERY_ITEMS = 8
NEIGHBOURS = 48
TREND_ITEMS = 50
_PLACE_BITS = 12
_MOST_BITS = (1 << 31) - 1


@dataclass(frozen=True)
class NeighbourLists:
    """The strongest neighbours of the items ``ids`` (d,), rising, never empty.

    ``items`` (d, k), 0 behind the end; ``values`` (d, k, columns) their pair counts; ``totals`` (d, columns) all of an item's.
    """

    ids: np.ndarray
    items: np.ndarray
    values: np.ndarray
    totals: np.ndarray


@dataclass(frozen=True)
class Candidates:
    """Candidates ``items`` (n, c) of n requests, rising in a row, 0 behind the end, and what pairs say of them.

    ``sums`` (n, c, columns): pair counts of the request's newest items, weighted by place, out of ``totals`` (n, columns);
    ``cosine`` (n, c): of co-click with the longest half-life, summed likewise.
    """

    items: np.ndarray
    sums: np.ndarray
    totals: np.ndarray
    cosine: np.ndarray


def neighbour_lists(pairs: PairCounts, items: np.ndarray, num_items: int, size: int = NEIGHBOURS) -> NeighbourLists:
    """Return the ``size`` strongest neighbours of every item in ``items``, by its share summed over all columns."""
    ids = np.unique(items)
    ids = np.unique(np.r_[0, ids[ids <= num_items]])  # padding is an item without neighbours
    rows = pairs.neighbours(ids)
    totals = pairs.totals(num_items)[:, ids].T
    row = np.repeat(np.arange(len(ids)), np.diff(rows.starts))
    share = (rows.values / np.maximum(totals[row].T, 1e-9)).sum(0)
    some = np.flatnonzero((share > 0) & (rows.items <= num_items))
    row = row[some]
    # The bits of positive floats are in their order. One stable sort of integers, in which the smaller item stays first, is
    # five times faster than sorting by three keys.
    order = some[np.argsort(row << 32 | _MOST_BITS - share[some].view(np.int32), kind="stable")]
    place = np.arange(len(row)) - np.searchsorted(row, np.arange(len(ids)))[row]
    keep = place < size
    found = np.zeros((len(ids), size), np.int64)
    values = np.zeros((len(ids), size, len(rows.values)), np.float32)
    found[row[keep], place[keep]] = rows.items[order[keep]]
    values[row[keep], place[keep]] = rows.values[:, order[keep]].T
    return NeighbourLists(ids, found, values, totals)


def trend_list(scores: np.ndarray, size: int = TREND_ITEMS) -> np.ndarray:
    """Return the union (t,) of the ``size`` best items by each row of ``scores`` (rows, num_items + 1), none of them at 0."""
    found = [np.zeros(0, np.int64)]
    for row in scores:
        items = np.flatnonzero(row[1:]) + 1
        found.append(items[np.argsort(-row[items], kind="stable")[:size]])
    return np.unique(np.concatenate(found))


def gather_candidates(
    recents: Recents, lists: NeighbourLists, shared: np.ndarray, own: np.ndarray, item_totals: np.ndarray, rule_columns: int
) -> Candidates:
    """Unite the lists of each request, and sum what the pairs say.

    Args:
        recents: of the requests (n); lists: of the items among them; shared: (t,) candidates of every request;
        own: (n, m) each request's further ones, 0 for none; item_totals: (num_items + 1,) the last column's totals;
        rule_columns: how many columns are the rule's.
    """
    queries = recents.items[:, :QUERY_ITEMS]
    at_list = np.minimum(np.searchsorted(lists.ids, queries), len(lists.ids) - 1)
    at_list = np.where(lists.ids[at_list] == queries, at_list, 0)
    n, size = len(queries), lists.items.shape[1]
    neighbours = lists.items[at_list].reshape(n, QUERY_ITEMS * size)
    place, slot, items = _unite(np.c_[neighbours, np.broadcast_to(shared, (n, len(shared))), own])
    row, at = np.nonzero((place >= 0) & (place < QUERY_ITEMS * size))
    query, k = place[row, at] // size, place[row, at] % size
    source = at_list[row, query]
    weights = _query_weights(lists.values.shape[2], rule_columns)
    values, weight = lists.values[source, k], weights[query]
    cell, cells = row * items.shape[1] + slot[row, at], n * items.shape[1]
    sums = np.stack([np.bincount(cell, column, cells) for column in (values * weight).T], axis=1)
    expected = np.sqrt(lists.totals[source, -1] * item_totals[lists.items[source, k]] + 1.0)
    cosine = np.bincount(cell, values[:, -1] / expected * weight[:, -1], cells)
    totals = (lists.totals[at_list] * weights).sum(1)
    return Candidates(
        items, sums.reshape(*items.shape, -1).astype(np.float32), totals.astype(np.float32),
        cosine.reshape(items.shape).astype(np.float32),
    )  # fmt: skip


def _unite(every: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort each row of items (n, w), 0 for none: places they came from (n, w), -1 for none; slots; the distinct items (n, c)."""
    # One sort of packed integers is several times faster than an argsort.
    packed = np.sort(every << _PLACE_BITS | np.arange(every.shape[1]), axis=1)
    item, place = packed >> _PLACE_BITS, packed & ((1 << _PLACE_BITS) - 1)
    fresh = item > 0
    fresh[:, 1:] &= item[:, 1:] != item[:, :-1]
    slot = np.cumsum(fresh, axis=1) - 1
    items = np.zeros((len(every), int(slot[:, -1].max(initial=-1)) + 1), np.int64)
    row, at = np.nonzero(fresh)
    items[row, slot[row, at]] = item[row, at]
    return np.where(item > 0, place, -1), slot, items


def _query_weights(columns: int, rule_columns: int) -> np.ndarray:
    """What the k-th newest item weighs (QUERY_ITEMS, columns): the rule hears two of them, co-click all."""
    k = np.arange(QUERY_ITEMS)[:, None]
    return np.where(np.arange(columns) < rule_columns, np.where(k < 2, 1.0 / (k + 1), 0.0), 1.0 / (1.0 + 0.15 * k))
