"""What sessions like the running one say of a request's candidates."""

from dataclasses import dataclass

import numpy as np

SESSION_ITEMS = 50
SESSION_FEATURES = 2
_SUM_BITS, _AT_BITS = 24, 28
_MOST = (1 << _SUM_BITS) - 1


@dataclass(frozen=True)
class SessionEvidence:
    """Pairs of row and item (m,), rising, with the sums of the row's neighbour sessions and each item's share in them."""

    rows: np.ndarray
    items: np.ndarray
    sums: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, items: np.ndarray, sums: np.ndarray, n: int) -> "SessionEvidence":
        """Make it from the sums of ``n`` requests, which are whole numbers."""
        total = np.bincount(rows, sums, n)
        return cls(rows, items, sums, sums / total[rows])

    def best(self, n: int) -> np.ndarray:
        """The SESSION_ITEMS best items of each request (n, SESSION_ITEMS), 0 behind the end."""
        starts = np.searchsorted(self.rows, np.arange(n))
        at = np.arange(len(self.rows))
        # Sorting packed integers is several times faster than sorting by two keys; the smaller item comes first of equal sums.
        least = _MOST - np.minimum(self.sums.astype(np.int64), _MOST)
        packed = np.sort((self.rows << _SUM_BITS | least) << _AT_BITS | at)
        place = at - starts[self.rows]
        keep = place < SESSION_ITEMS
        found = np.zeros((n, SESSION_ITEMS), np.int64)
        found[self.rows[keep], place[keep]] = self.items[packed[keep] & ((1 << _AT_BITS) - 1)]
        return found

    def features(self, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return (SESSION_FEATURES, m) float32 of ``items`` (m,) in ``rows`` (m,), rising: log share, and whether it has one."""
        share = np.zeros(len(items))
        if len(items):
            keys, named = rows << 32 | items, self.rows << 32 | self.items
            at = np.minimum(np.searchsorted(keys, named), len(keys) - 1)
            same = keys[at] == named
            share[at[same]] = self.share[same]
        return np.stack([np.log(share + 1e-3) / 3.0, share > 0]).astype(np.float32)
