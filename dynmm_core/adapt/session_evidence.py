"""What sessions like the running one say of a request's candidates."""

from dataclasses import dataclass

import numpy as np

SESSION_ITEMS = 50
SESSION_FEATURES = 2


@dataclass(frozen=True)
class SessionEvidence:
    """Pairs of row and item (m,), rising, with each item's share in all that the row's neighbour sessions say."""

    rows: np.ndarray
    items: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, items: np.ndarray, sums: np.ndarray, n: int) -> "SessionEvidence":
        """Make it from the sums of ``n`` requests."""
        total = np.bincount(rows, sums, n)
        return cls(rows, items, sums / total[rows])

    def best(self, n: int) -> np.ndarray:
        """The SESSION_ITEMS best items of each request (n, SESSION_ITEMS), 0 behind the end."""
        order = np.lexsort((-self.share, self.rows))  # stable: the smaller item comes first where shares tie
        rows = self.rows[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, np.arange(n))[rows]
        keep = place < SESSION_ITEMS
        found = np.zeros((n, SESSION_ITEMS), np.int64)
        found[rows[keep], place[keep]] = self.items[order[keep]]
        return found

    def features(self, items: np.ndarray) -> np.ndarray:
        """Return (n, c, SESSION_FEATURES) float32 of candidates (n, c): log share, and whether the item is named at all."""
        share = np.zeros(items.shape)
        if len(self.rows):
            keys, wanted = self.rows << 32 | self.items, np.arange(len(items))[:, None] << 32 | items
            at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            share = np.where(keys[at] == wanted, self.share[at], 0.0)
        return np.stack([np.log(share + 1e-3) / 3.0, share > 0], axis=2).astype(np.float32)
