"""The newest items of every user with their times, whatever the base knows of them."""

from dataclasses import dataclass

import numpy as np

RECENT_ITEMS = 10


@dataclass(frozen=True)
class Recents:
    """The newest items before each of n requests, newest first: ``items`` (n, RECENT_ITEMS), 0 for none; ``time_ms`` alike."""

    items: np.ndarray
    time_ms: np.ndarray

    def rows(self, start: int, stop: int) -> "Recents":
        """Those of requests ``start`` … ``stop`` - 1."""
        return Recents(self.items[start:stop], self.time_ms[start:stop])

    def take(self, rows: np.ndarray) -> "Recents":
        """Those of ``rows`` (m,)."""
        return Recents(self.items[rows], self.time_ms[rows])


class RecentItems:
    """The newest ``size`` items of all users, by ``user_idx``; events arrive slide by slide, in canonical order."""

    def __init__(self, size: int = RECENT_ITEMS) -> None:
        self._size = size
        self._items = np.zeros((1, size), np.int32)
        self._time_ms = np.zeros((1, size), np.int64)

    def before(self, user_idx: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray, *, within: bool) -> Recents:
        """Show what came before each of these events (n,), which are not yet observed.

        Args:
            within: an event sees the earlier ones of the same slide.
        """
        self._grow(int(user_idx.max(initial=0)) + 1)
        if not within:
            return Recents(self._items[user_idx].astype(np.int64), self._time_ms[user_idx])
        order = np.argsort(user_idx, kind="stable")
        users, position = user_idx[order], _positions(user_idx[order])
        # The k-th newest before an event is k rows up while that row is the same user's, else it is among the stored ones.
        back = np.arange(self._size)
        here = np.arange(len(users))[:, None] - 1 - back
        fresh = position[:, None] > back
        stored = np.clip(back - position[:, None], 0, self._size - 1)
        at = np.maximum(here, 0)
        items = np.where(fresh, item_idx[order][at], self._items[users[:, None], stored])
        times = np.where(fresh, event_time_ms[order][at], self._time_ms[users[:, None], stored])
        undo = np.empty_like(order)
        undo[order] = np.arange(len(order))
        return Recents(items[undo].astype(np.int64), times[undo])

    def observe(self, user_idx: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray) -> None:
        """Append the events of one slide (n,)."""
        if not len(user_idx):
            return
        before = self.before(user_idx, item_idx, event_time_ms, within=True)
        last = len(user_idx) - 1 - np.unique(user_idx[::-1], return_index=True)[1]
        users = user_idx[last]
        self._items[users] = np.c_[item_idx[last], before.items[last, :-1]]
        self._time_ms[users] = np.c_[event_time_ms[last], before.time_ms[last, :-1]]

    def _grow(self, size: int) -> None:
        have = len(self._items)
        if size > have:
            more = max(size, 2 * have) - have
            self._items = np.vstack([self._items, np.zeros((more, self._size), np.int32)])
            self._time_ms = np.vstack([self._time_ms, np.zeros((more, self._size), np.int64)])


def _positions(users: np.ndarray) -> np.ndarray:
    """Place of each row (n,) within its run of equal users."""
    if not len(users):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
    return np.arange(len(users)) - np.repeat(starts, np.diff(np.r_[starts, len(users)]))
