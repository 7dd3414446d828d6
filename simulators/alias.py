"""Alias tables: a draw from any discrete distribution in constant time, for millions of draws at once."""

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class AliasTables:
    """Tables side by side: table k has the columns start[k] … start[k + 1] - 1 of ``keep`` and ``other``, both (columns,).

    A draw takes a column of its table evenly, keeps it with probability ``keep`` and takes ``other`` else.
    """

    start: np.ndarray
    keep: np.ndarray
    other: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray, start: np.ndarray | None = None) -> Self:
        """Build tables for weights (columns,) of 0 or more; ``start`` (tables + 1,) parts them, None is one table.

        Source: Walker (1977); built by sweeping over items below and above the mean (Hübschle-Schneider and Sanders, 2019).

        Raises:
            ValueError: a table's weights add up to nothing.
        """
        start = np.array([0, len(weights)]) if start is None else start
        keep, other = np.ones(len(weights)), np.arange(len(weights))
        for first, last in zip(start[:-1].tolist(), start[1:].tolist(), strict=True):
            total = weights[first:last].sum()
            if not total > 0.0:
                raise ValueError("weights: a table has none above 0")
            keep[first:last], aliases = _sweep(weights[first:last] * ((last - first) / total))
            other[first:last] = first + aliases
        return cls(start, keep, other)

    def draw(self, table: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Draw a column (n,) from each table (n,), with one uniform number in [0, 1) each: its fraction decides the alias."""
        first = self.start[table]
        size = self.start[table + 1] - first
        scaled = uniform * size
        place = np.minimum(scaled.astype(np.int64), size - 1)
        column = first + place
        drawn: np.ndarray = np.where(scaled - place < self.keep[column], column, self.other[column])
        return drawn


def _sweep(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep and other (n,) for weights (n,) of mean 1.

    What the small ones lack is poured out of the large ones in order. A large one that is overdrawn by a small one has its own
    lack filled by the next large one.
    """
    keep, other = np.ones(len(scaled)), np.arange(len(scaled))
    small, large = np.flatnonzero(scaled < 1.0), np.flatnonzero(scaled >= 1.0)
    if not len(small):
        return keep, other
    lack, excess = np.cumsum(1.0 - scaled[small]), np.cumsum(scaled[large] - 1.0)
    keep[small] = scaled[small]
    filled_by = np.searchsorted(excess, lack - (1.0 - scaled[small]), "left")
    other[small] = large[np.minimum(filled_by, len(large) - 1)]
    overdrawn_at = np.searchsorted(lack, excess[:-1], "right")
    inner = overdrawn_at < len(small)
    overdrawn = large[:-1][inner]
    keep[overdrawn] = np.clip(1.0 - (lack[overdrawn_at[inner]] - excess[:-1][inner]), 0.0, 1.0)
    other[overdrawn] = large[1:][inner]
    return keep, other
