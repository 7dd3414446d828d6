"""Popularity of the last minutes or hours, refreshed at every slide: the counter that adaptation has to beat."""

import numpy as np

from dynmm_core.metrics.ranking import expected_metrics


class PopularityRanking:
    """Ranks every item by one non-negative integer score, the same for all users.

    Args:
        scores: (num_items + 1,) counts; index 0 is padding and no candidate.
    """

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores
        self._sorted = np.sort(scores[1:])

    def rank(self, targets: np.ndarray, consumed_rows: np.ndarray, consumed_items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) of each target among all items but the row's consumed ones.

        Args:
            targets: (n,) item indices; one beyond the scores is no candidate and gets better = -1.
            consumed_rows, consumed_items: (m,) pairs (row of ``targets``, item no candidate there), without repeats.
        """
        known = (targets > 0) & (targets < len(self.scores))
        own = self.scores[np.where(known, targets, 0)]
        right = np.searchsorted(self._sorted, own, "right")
        better = len(self._sorted) - right
        ties = right - np.searchsorted(self._sorted, own, "left") - 1
        inside = (consumed_items < len(self.scores)) & (consumed_items != targets[consumed_rows])
        rows, scores = consumed_rows[inside], self.scores[consumed_items[inside]]
        better -= np.bincount(rows, scores > own[rows], len(targets)).astype(np.int64)
        ties -= np.bincount(rows, scores == own[rows], len(targets)).astype(np.int64)
        return np.where(known, better, -1), np.where(known, ties, 0)

    def metrics(self, targets: np.ndarray, consumed_rows: np.ndarray, consumed_items: np.ndarray) -> np.ndarray:
        """Return the expected metrics (n, 6) of each target; see :func:`expected_metrics`."""
        return expected_metrics(*self.rank(targets, consumed_rows, consumed_items))
