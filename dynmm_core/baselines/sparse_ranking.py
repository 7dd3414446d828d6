"""Exact ranks where every request shares one score per item, but for a few items of its own."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Lifted:
    """Items that a request scores otherwise: pairs ``rows`` (m,), ``items`` (m,), sorted by both, with their ``scores`` (m,)."""

    rows: np.ndarray
    items: np.ndarray
    scores: np.ndarray

    @classmethod
    def none(cls) -> "Lifted":
        """No such items."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


class SharedScores:
    """Ranks items 1 … num_items by one score each, the same for all requests but where a request lifts an item.

    Args:
        scores: (num_items + 1,) index 0 is padding and no candidate.
    """

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores

    @cached_property
    def _sorted(self) -> np.ndarray:
        return np.sort(self.scores[1:])

    def rank(
        self, targets: np.ndarray, consumed_rows: np.ndarray, consumed_items: np.ndarray, lifted: Lifted | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) of each target (n,) among all items but the row's consumed ones; -1 for an unknown target
        and for one whose score is no number.

        Args:
            consumed_rows, consumed_items: (m,) pairs without repeats; a target stays a candidate for its own row.
        """
        lifted = lifted or Lifted.none()
        known = (targets > 0) & (targets < len(self.scores))
        own = self._own(np.where(known, targets, 0), lifted)
        right = np.searchsorted(self._sorted, own, "right")
        known &= ~np.isnan(own)
        better, ties = len(self._sorted) - right, right - np.searchsorted(self._sorted, own, "left")
        inside = (lifted.items > 0) & (lifted.items < len(self.scores))
        rows, items = lifted.rows[inside], lifted.items[inside]
        better, ties = _count(better, ties, rows, self.scores[items], own, -1)
        better, ties = _count(better, ties, rows, lifted.scores[inside], own, +1)
        out = (consumed_items > 0) & (consumed_items < len(self.scores)) & (consumed_items != targets[consumed_rows])
        rows, items = consumed_rows[out], consumed_items[out]
        better, ties = _count(better, ties, rows, self._scores_of(rows, items, lifted), own, -1)
        return np.where(known, better, -1), np.where(known, ties - 1, 0)

    def _own(self, targets: np.ndarray, lifted: Lifted) -> np.ndarray:
        return self._scores_of(np.arange(len(targets)), targets, lifted)

    def _scores_of(self, rows: np.ndarray, items: np.ndarray, lifted: Lifted) -> np.ndarray:
        shared: np.ndarray = self.scores[items].astype(np.float64)
        if not len(lifted.rows):
            return shared
        keys, wanted = lifted.rows << 32 | lifted.items, rows.astype(np.int64) << 32 | items
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.asarray(np.where(keys[at] == wanted, lifted.scores[at], shared))


def _count(
    better: np.ndarray, ties: np.ndarray, rows: np.ndarray, scores: np.ndarray, own: np.ndarray, sign: int
) -> tuple[np.ndarray, np.ndarray]:
    mine = own[rows]
    above = np.bincount(rows[scores > mine], minlength=len(own))
    equal = np.bincount(rows[scores == mine], minlength=len(own))
    return better + sign * above, ties + sign * equal
