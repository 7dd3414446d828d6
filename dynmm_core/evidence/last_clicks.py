"""Columns that are known only with a click: a request is described by what the user's last click said."""

from collections.abc import Sequence

import numpy as np


class LastClicks:
    """The codes of every user's newest event in some columns of the context, by ``user_idx``; 0 before the first.

    Args:
        columns: places of these columns; the codes of the others are the request's own.
    """

    def __init__(self, columns: Sequence[int] = ()) -> None:
        self._columns = np.array(columns, np.int64)
        self._codes = np.zeros((1, len(self._columns)), np.int8)

    def before(self, user_idx: np.ndarray, context: np.ndarray, *, within: bool = True) -> np.ndarray:
        """Return the codes (n, columns) that describe the requests of these events (n,), which are not yet observed.

        Args:
            context: the events' own codes (n, columns), in canonical order; within: an event sees the earlier ones of the same
            slide.
        """
        if not len(self._columns) or not len(user_idx):
            return context
        self._grow(int(user_idx.max()) + 1)
        last = self._codes[user_idx]
        if within:
            order = np.argsort(user_idx, kind="stable")
            again = np.flatnonzero(np.diff(user_idx[order]) == 0)
            last[order[again + 1]] = context[np.ix_(order[again], self._columns)]
        described = context.copy()
        described[:, self._columns] = last
        return described

    def observe(self, user_idx: np.ndarray, context: np.ndarray) -> None:
        """Take in the events of one slide (n,), in canonical order."""
        if not len(self._columns) or not len(user_idx):
            return
        self._grow(int(user_idx.max()) + 1)
        last = len(user_idx) - 1 - np.unique(user_idx[::-1], return_index=True)[1]
        self._codes[user_idx[last]] = context[np.ix_(last, self._columns)]

    def _grow(self, size: int) -> None:
        have = len(self._codes)
        if size > have:
            self._codes = np.pad(self._codes, ((0, max(size, 2 * have) - have), (0, 0)))
