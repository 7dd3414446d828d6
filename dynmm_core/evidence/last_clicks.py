"""Columns that are known only with a click: a request is described by what the user's last click said."""

from collections.abc import Sequence

import numpy as np

from dynmm_core.evidence.recents import RecentItems


class LastClicks:
    """The codes of every user's newest event in some columns of the context, by ``user_idx``; 0 before the first.

    Args:
        columns: places of these columns; the codes of the others are the request's own.
    """

    def __init__(self, columns: Sequence[int] = ()) -> None:
        # The newest code of a user is kept as his newest item would be; nobody asks for its time, so that any number does for it.
        self._newest = {column: RecentItems(1) for column in columns}

    def before(self, user_idx: np.ndarray, context: np.ndarray, *, within: bool = True) -> np.ndarray:
        """Return the codes (n, columns) that describe the requests of these events (n,), which are not yet observed.

        Args:
            context: the events' own codes (n, columns), in canonical order; within: an event sees the earlier ones of the same
            slide.
        """
        described = context.copy()
        for column, newest in self._newest.items():
            described[:, column] = newest.before(user_idx, context[:, column], user_idx, within=within).items[:, 0]
        return described

    def observe(self, user_idx: np.ndarray, context: np.ndarray) -> None:
        """Take in the events of one slide (n,), in canonical order."""
        for column, newest in self._newest.items():
            newest.observe(user_idx, context[:, column], user_idx)
