"""Which sessions an item is in, newest last, and which items a session has."""

import copy

import numpy as np

from dynmm_core.baselines.contract import Facts
from dynmm_core.model.features import SESSION_GAP_MS

PRUNED_PAIRS = 500_000
_SHIFT = 32
_MASK = (1 << _SHIFT) - 1


class SessionTable:
    """Pairs (item, session) both ways, sorted; a session's number rises with the time of its first event.

    Taking in a slide replaces arrays and writes into none that a frozen table reads. A session that is behind the newest
    ``sessions`` of each of its items, and can grow no more, is forgotten at times; nothing that is asked for depends on it.
    """

    def __init__(self, sessions: int) -> None:
        self._sessions = sessions
        self._by_item = np.zeros(0, np.int64)
        self._by_session = np.zeros(0, np.int64)
        self._running = np.full(1, -1)
        self._last_ms = np.zeros(1, np.int64)
        self._next = 0
        self._prune_at = PRUNED_PAIRS

    def __len__(self) -> int:
        return len(self._by_item)

    def frozen(self) -> "SessionTable":
        """Return the table as it stands, for reading."""
        return copy.copy(self)

    def newest(self, items: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the ``size`` newest sessions of items (any shape) start, for :meth:`session_at`, and how many there are."""
        ids, inverse = np.unique(items, return_inverse=True)
        high = np.searchsorted(self._by_item, (ids + 1) << _SHIFT)
        low = np.maximum(np.searchsorted(self._by_item, ids << _SHIFT), high - size)
        low[ids == 0] = high[ids == 0]
        return low[inverse].reshape(items.shape), (high - low)[inverse].reshape(items.shape)

    def session_at(self, at: np.ndarray) -> np.ndarray:
        """Sessions (n,) at these positions."""
        return np.asarray(self._by_item[at] & _MASK)

    def contents(self, sessions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the items of sessions (n,) start, for :meth:`item_at`, and how many there are."""
        low = np.searchsorted(self._by_session, sessions << _SHIFT)
        return low, np.searchsorted(self._by_session, (sessions + 1) << _SHIFT) - low

    def item_at(self, at: np.ndarray) -> np.ndarray:
        """Items (n,) at these positions."""
        return np.asarray(self._by_session[at] & _MASK)

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide."""
        if not len(facts.user_idx):
            return
        items, sessions = self._numbered(facts)
        self._by_item = _merged(self._by_item, items << _SHIFT | sessions)
        self._by_session = _merged(self._by_session, sessions << _SHIFT | items)
        if len(self._by_item) > self._prune_at:
            self._prune(facts.slide_end_ms)
            self._prune_at = max(PRUNED_PAIRS, 2 * len(self._by_item))

    def _numbered(self, facts: Facts) -> tuple[np.ndarray, np.ndarray]:
        """Items and session numbers (n,) of the slide's events, regrouped by user; users' running sessions move on."""
        self._grow(int(facts.user_idx.max()) + 1)
        order = np.argsort(facts.user_idx, kind="stable")
        users = facts.user_idx[order]
        first = np.r_[True, users[1:] != users[:-1]]
        starts = (facts.session_position[order] == 0) | (first & (self._running[users] < 0))
        fresh = np.zeros(len(order), np.int64)
        fresh[order] = starts
        numbers = self._next + np.cumsum(fresh) - 1
        self._next += int(fresh.sum())
        anchor = np.maximum.accumulate(np.where(starts | first, np.arange(len(order)), 0))
        sessions = np.where(starts, numbers[order], self._running[users])[anchor]
        last = np.r_[first[1:], True]
        self._running[users[last]] = sessions[last]
        self._last_ms[users[last]] = facts.event_time_ms[order][last]
        return facts.item_idx[order].astype(np.int64), sessions

    def _prune(self, as_of_ms: int) -> None:
        item, session = self._by_item >> _SHIFT, self._by_item & _MASK
        behind = np.searchsorted(item, item, "right") - np.arange(len(item))
        growing = self._running[self._last_ms >= as_of_ms - SESSION_GAP_MS]
        alive = np.zeros(self._next, bool)
        alive[session[behind <= self._sessions]] = True
        alive[growing[growing >= 0]] = True
        self._by_item = self._by_item[alive[session]]
        self._by_session = self._by_session[alive[self._by_session >> _SHIFT]]

    def _grow(self, size: int) -> None:
        have = len(self._running)
        if size > have:
            more = max(size, 2 * have) - have
            self._running = np.r_[self._running, np.full(more, -1)]
            self._last_ms = np.r_[self._last_ms, np.zeros(more, np.int64)]


def _merged(table: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the sorted table with the keys that it lacks."""
    keys = np.unique(keys)
    at = np.searchsorted(table, keys)
    fresh = at == len(table)
    fresh[~fresh] = table[at[~fresh]] != keys[~fresh]
    return np.insert(table, at[fresh], keys[fresh])
