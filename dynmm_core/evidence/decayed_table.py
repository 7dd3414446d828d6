"""Decayed counts in a sparse table: rows of columns, each cell with one value per half-life."""

import copy
from dataclasses import dataclass

import numpy as np

KEY_SHIFT = 32
_COLUMN_MASK = (1 << KEY_SHIFT) - 1
_REBASE_HALF_LIVES = 64.0
_FORGOTTEN = 1e-3
_MOST_AHEAD = 16.0  # half-lives; with those of the reference, squares of counts stay finite


@dataclass(frozen=True)
class TableRows:
    """Some rows of a table: row r has ``items[starts[r]:starts[r + 1]]``, rising; ``values`` (half-lives, m) float32."""

    starts: np.ndarray
    items: np.ndarray
    values: np.ndarray


class DecayedTable:
    """Cells (row, item) in the order of their keys; a count made at t weighs 2^(-(as_of - t) / half-life).

    Adding replaces arrays and writes into none, so that :meth:`frozen` costs nothing. Values are kept relative to a moment that
    moves seldom, so that neither does time passing.

    Args:
        half_lives_ms: one value per cell each, above 0.
    """

    def __init__(self, half_lives_ms: tuple[int, ...]) -> None:
        self._half_lives = np.array(half_lives_ms, np.float64)
        self._keys = np.zeros(0, np.int64)
        self._values = np.zeros((len(half_lives_ms), 0), np.float32)
        self._totals = np.zeros((len(half_lives_ms), 1), np.float64)
        self._reference_ms: int | None = None
        self.as_of_ms = 0

    def __len__(self) -> int:
        return len(self._keys)

    def frozen(self, as_of_ms: int | None = None) -> "DecayedTable":
        """Return the table as it stands at ``as_of_ms``, by default where it is; what is added later does not change it."""
        frozen = copy.copy(self)
        frozen.as_of_ms = self.as_of_ms if as_of_ms is None else as_of_ms
        return frozen

    def add(self, rows: np.ndarray, items: np.ndarray, event_time_ms: np.ndarray, weights: np.ndarray, as_of_ms: int) -> None:
        """Move to ``as_of_ms`` and add counts (n,); ``weights`` (half-lives, n).

        Later ones weigh more than 1, as what came between the start of the first slide and the cut, but no more than 2^16.
        """
        self.as_of_ms = as_of_ms
        if not len(rows):
            return
        reference_ms = self._rebase()
        keys, inverse = np.unique(rows.astype(np.int64) << KEY_SHIFT | items, return_inverse=True)
        values = np.empty((len(weights), len(keys)), np.float32)
        for place, (weight, half_life) in enumerate(zip(weights, self._half_lives, strict=True)):
            lead = np.minimum(event_time_ms, as_of_ms + _MOST_AHEAD * half_life) - reference_ms
            values[place] = np.bincount(inverse, weight * np.exp2(lead / half_life), len(keys))
        self._add_totals(keys, values)
        at = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), bool)
        inside = at < len(self._keys)
        known[inside] = self._keys[at[inside]] == keys[inside]
        fresh = ~known
        # Row by row, insertion takes half the time; what is known moves up by the fresh cells before it.
        grown = np.stack([np.insert(row, at[fresh], more) for row, more in zip(self._values, values[:, fresh], strict=True)])
        grown[:, (at + np.cumsum(fresh))[known]] += values[:, known]
        self._keys, self._values = np.insert(self._keys, at[fresh], keys[fresh]), grown

    def rows(self, rows: np.ndarray) -> TableRows:
        """Return distinct ``rows`` (r,), values decayed to ``as_of_ms``."""
        low = np.searchsorted(self._keys, rows.astype(np.int64) << KEY_SHIFT)
        high = np.searchsorted(self._keys, (rows.astype(np.int64) + 1) << KEY_SHIFT)
        sizes = high - low
        starts = np.r_[0, np.cumsum(sizes)]
        at = np.repeat(low - starts[:-1], sizes) + np.arange(starts[-1])
        return TableRows(starts, self._keys[at] & _COLUMN_MASK, self._values[:, at] * self._now()[:, None])

    def at(self, rows: np.ndarray, row: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the cells (half-lives, m) float32 of ``items`` (m,), each in the ``row``-th (m,) of ``rows``, decayed."""
        values = np.zeros((len(self._values), len(items)), np.float32)
        # Looked for among the cells of these rows, which the cache holds, and not in the whole table.
        distinct, place = np.unique(rows, return_inverse=True)
        cells = self.rows(distinct)
        if len(cells.items):
            have = np.repeat(np.arange(len(distinct)), np.diff(cells.starts)) << KEY_SHIFT | cells.items
            keys = (place << KEY_SHIFT)[row] | items
            at = np.minimum(np.searchsorted(have, keys), len(have) - 1)
            found = np.flatnonzero(have[at] == keys)
            values[:, found] = cells.values[:, at[found]]
        return values

    def totals_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the sums over each of ``rows`` (…), as (half-lives, …) float32, decayed to ``as_of_ms``."""
        inside = rows < self._totals.shape[1]
        totals = np.where(inside, self._totals[:, np.where(inside, rows, 0)], 0.0)
        now = self._now().reshape(-1, *[1] * rows.ndim)
        return np.asarray((totals * now).astype(np.float32))

    def totals(self, last_row: int) -> np.ndarray:
        """Return the sums over each of the rows 0 … last_row (half-lives, last_row + 1) float32, decayed to ``as_of_ms``."""
        return self.totals_of(np.arange(last_row + 1))

    def _now(self) -> np.ndarray:
        reference_ms = self.as_of_ms if self._reference_ms is None else self._reference_ms
        return np.asarray(np.exp2((reference_ms - self.as_of_ms) / self._half_lives).astype(np.float32))

    def _rebase(self) -> int:
        """Move the reference moment before the shortest half-life overflows; forget what has faded."""
        if self._reference_ms is None:
            self._reference_ms = self.as_of_ms
        if (self.as_of_ms - self._reference_ms) / self._half_lives.min() > _REBASE_HALF_LIVES:
            factor = np.exp2((self._reference_ms - self.as_of_ms) / self._half_lives)[:, None]
            values = (self._values * factor).astype(np.float32)
            keep = values.max(axis=0) > _FORGOTTEN
            self._keys, self._values = self._keys[keep], values[:, keep]
            self._totals = self._totals * factor
            self._reference_ms = self.as_of_ms
        return self._reference_ms

    def _add_totals(self, keys: np.ndarray, values: np.ndarray) -> None:
        rows = keys >> KEY_SHIFT
        have, size = self._totals.shape[1], int(rows[-1]) + 1
        grown = max(size, 2 * have) if size > have else have
        padded = np.pad(self._totals, ((0, 0), (0, grown - have)))
        self._totals = padded + np.stack([np.bincount(rows, column, grown) for column in values])
