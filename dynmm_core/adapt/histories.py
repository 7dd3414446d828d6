"""User histories in columns: what each user did so far, and what a request may know of it."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.evidence.recents import RecentItems, Recents
from dynmm_core.model.features import SESSION_GAP_MS


@dataclass(frozen=True)
class HistoryView:
    """What the history shows before each of n requests.

    recent (n, max_length) base-known items, oldest first, 0 behind the end; recent_length (n,); length (n,) all events;
    gap_ms (n,) since the last event, 0 without one; session_position (n,) events of the running session before this one.
    consumed_rows, consumed_items (m,): pairs (request, item seen before), without repeats. recents: the newest
    items, known to the base or not; long_recents: more of them, where they are kept.
    """

    recent: np.ndarray
    recent_length: np.ndarray
    length: np.ndarray
    gap_ms: np.ndarray
    session_position: np.ndarray
    consumed_rows: np.ndarray
    consumed_items: np.ndarray
    recents: Recents
    long_recents: Recents | None = None

    def rows(self, start: int, stop: int) -> "HistoryView":
        """Return the view of requests ``start`` … ``stop`` - 1 alone."""
        inside = (self.consumed_rows >= start) & (self.consumed_rows < stop)
        cut = slice(start, stop)
        return HistoryView(
            self.recent[cut], self.recent_length[cut], self.length[cut], self.gap_ms[cut], self.session_position[cut],
            self.consumed_rows[inside] - start, self.consumed_items[inside], self.recents.rows(start, stop),
            None if self.long_recents is None else self.long_recents.rows(start, stop),
        )  # fmt: skip


class Histories:
    """The histories of all users, indexed by ``user_idx``; events arrive slide by slide, in canonical order.

    Args:
        base_items: items that the frozen base knows are 1 … base_items; only they enter ``recent``.
        max_length: how many of them a state may depend on;
        long_items: keep so many items, known to the base or not, for views to show; 0 keeps none.
    """

    def __init__(self, base_items: int, max_length: int, long_items: int = 0) -> None:
        self.base_items, self.max_length = base_items, max_length
        self._recent = np.zeros((1, max_length), np.int32)
        self._recent_length = np.zeros(1, np.int64)
        self._length = np.zeros(1, np.int64)
        self._last_ms = np.zeros(1, np.int64)
        self._session_length = np.zeros(1, np.int64)
        self._pairs = np.zeros(0, np.int64)
        self.recent_items = RecentItems()
        self._long_items = RecentItems(long_items) if long_items else None

    def observe(self, user_idx: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray) -> None:
        """Append the events of one slide (n,), in canonical order."""
        if not len(user_idx):
            return
        self._grow(int(user_idx.max()) + 1)
        self.recent_items.observe(user_idx, item_idx, event_time_ms)
        if self._long_items is not None:
            self._long_items.observe(user_idx, item_idx, event_time_ms)
        events = _ByUser.of(user_idx, item_idx, event_time_ms)
        known = events.item_idx <= self.base_items
        self._append_recent(events.user_idx[known], events.item_idx[known])
        positions = self._session_positions(events)
        last = events.last
        users = events.user_idx[last]
        self._length[users] += events.counts
        self._last_ms[users] = events.time_ms[last]
        self._session_length[users] = positions[last] + 1
        pairs = np.unique(_pair(events.user_idx, events.item_idx))
        at = np.searchsorted(self._pairs, pairs)
        fresh = self._pairs[np.minimum(at, len(self._pairs) - 1)] != pairs if len(self._pairs) else np.ones(len(pairs), bool)
        self._pairs = np.insert(self._pairs, at[fresh], pairs[fresh])

    def view(self, user_idx: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray, *, within: bool) -> HistoryView:
        """Show the history before each of these events (n,), which are not yet observed, in canonical order.

        Args:
            within: let an event see the earlier events of the same slide (event history), or only what was
                observed before the slide (version history).
        """
        self._grow(int(user_idx.max(initial=0)) + 1)
        events = _ByUser.of(user_idx, item_idx, event_time_ms)
        earlier = events.position if within else np.zeros_like(events.position)
        recent, recent_length = self._recent_before(events, within)
        length = self._length[events.user_idx] + earlier
        previous_ms = np.where(earlier > 0, np.r_[0, events.time_ms[:-1]], self._last_ms[events.user_idx])
        gap_ms = np.where(length > 0, events.time_ms - previous_ms, 0)
        if within:
            session = self._session_positions(events)
        else:
            running = (length > 0) & (gap_ms <= SESSION_GAP_MS)
            session = np.where(running, self._session_length[events.user_idx], 0)
        rows, items = self._consumed_before(events, within)
        back = np.argsort(events.order, kind="stable")
        recents = self.recent_items.before(user_idx, item_idx, event_time_ms, within=within)
        long = None if self._long_items is None else self._long_items.before(user_idx, item_idx, event_time_ms, within=within)
        return HistoryView(
            recent[back], recent_length[back], length[back], gap_ms[back], session[back], events.order[rows], items, recents, long
        )

    def users_at(self, user_idx: np.ndarray, as_of_ms: int) -> HistoryView:
        """Show the histories of distinct users (n,) at ``as_of_ms``, without their consumed items."""
        self._grow(int(user_idx.max(initial=0)) + 1)
        length = self._length[user_idx]
        gap_ms = np.where(length > 0, as_of_ms - self._last_ms[user_idx], 0)
        session = np.where((length > 0) & (gap_ms <= SESSION_GAP_MS), self._session_length[user_idx], 0)
        empty = np.zeros(0, np.int64)
        recents = self.recent_items.before(user_idx, user_idx, user_idx, within=False)
        return HistoryView(
            self._recent[user_idx].astype(np.int64), self._recent_length[user_idx], length, gap_ms, session, empty, empty, recents
        )

    def places(self, user_idx: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many events of the session, and of the user, came before each of these (n,), not yet observed ones."""
        self._grow(int(user_idx.max(initial=0)) + 1)
        events = _ByUser.of(user_idx, item_idx, event_time_ms)
        positions, lengths = np.empty_like(events.order), np.empty_like(events.order)
        positions[events.order] = self._session_positions(events)
        lengths[events.order] = self._length[events.user_idx] + events.position
        return positions, lengths

    def _session_positions(self, events: "_ByUser") -> np.ndarray:
        """Position of each event in its session, sessions broken by SESSION_GAP_MS, begun before the slide or in it."""
        first = events.position == 0
        previous_ms = np.where(first, self._last_ms[events.user_idx], np.r_[0, events.time_ms[:-1]])
        fresh = first & (self._length[events.user_idx] == 0)
        starts = fresh | (events.time_ms - previous_ms > SESSION_GAP_MS)
        anchor = np.maximum.accumulate(np.where(starts | first, np.arange(len(first)), 0))
        carried = np.where(starts[anchor], 0, self._session_length[events.user_idx[anchor]])
        return np.arange(len(first)) - anchor + carried

    def _recent_before(self, events: "_ByUser", within: bool) -> tuple[np.ndarray, np.ndarray]:
        known = events.item_idx <= self.base_items if within else np.zeros(len(events.item_idx), bool)
        known_before = np.cumsum(known) - known
        known_before = known_before - known_before[events.first_row]
        base = self._recent_length[events.user_idx]
        total = base + known_before
        length = np.minimum(total, self.max_length)
        # Virtual index into (recent items of the user, then the known items of this slide).
        virtual = (total - length)[:, None] + np.arange(self.max_length)
        inside = virtual < total[:, None]
        from_recent = virtual < base[:, None]
        recent = self._recent[events.user_idx[:, None], np.minimum(virtual, self.max_length - 1)]
        if not within:
            return np.where(inside & from_recent, recent, 0).astype(np.int64), length
        compact = events.item_idx[known]
        offset = (np.cumsum(known) - known)[events.first_row]
        fresh_at = np.clip(offset[:, None] + virtual - base[:, None], 0, max(len(compact) - 1, 0))
        fresh = compact[fresh_at] if len(compact) else np.zeros_like(virtual)
        return np.where(inside, np.where(from_recent, recent, fresh), 0).astype(np.int64), length

    def _append_recent(self, user_idx: np.ndarray, item_idx: np.ndarray) -> None:
        if not len(user_idx):
            return
        starts = np.flatnonzero(np.r_[True, user_idx[1:] != user_idx[:-1]])
        counts = np.diff(np.r_[starts, len(user_idx)])
        users = user_idx[starts]
        base = self._recent_length[users]
        total = base + counts
        length = np.minimum(total, self.max_length)
        virtual = (total - length)[:, None] + np.arange(self.max_length)
        recent = self._recent[users[:, None], np.minimum(virtual, self.max_length - 1)]
        fresh = item_idx[np.clip(starts[:, None] + virtual - base[:, None], 0, len(item_idx) - 1)]
        rows = np.where(virtual < base[:, None], recent, fresh)
        self._recent[users] = np.where(virtual < total[:, None], rows, 0)
        self._recent_length[users] = length

    def _consumed_before(self, events: "_ByUser", within: bool) -> tuple[np.ndarray, np.ndarray]:
        low = np.searchsorted(self._pairs, _pair(events.user_idx, np.zeros_like(events.item_idx)))
        high = np.searchsorted(self._pairs, _pair(events.user_idx + 1, np.zeros_like(events.item_idx)))
        rows, at = _ranges(low, high)
        items = self._pairs[at] & _ITEM_MASK
        if not within:
            return rows, items
        pairs = _pair(events.user_idx, events.item_idx)
        at_base = np.searchsorted(self._pairs, pairs)
        old = self._pairs[np.minimum(at_base, len(self._pairs) - 1)] == pairs if len(self._pairs) else np.zeros(len(pairs), bool)
        _, first = np.unique(pairs, return_index=True)
        fresh = np.zeros(len(pairs), bool)
        fresh[first] = True
        fresh = fresh & ~old
        before = np.cumsum(fresh) - fresh
        fresh_rows, fresh_at = _ranges(before[events.first_row], before)
        return np.r_[rows, fresh_rows], np.r_[items, events.item_idx[fresh][fresh_at]]

    def _grow(self, size: int) -> None:
        have = len(self._length)
        if size <= have:
            return
        more = max(size, 2 * have) - have
        self._recent = np.vstack([self._recent, np.zeros((more, self.max_length), np.int32)])
        for name in ("_recent_length", "_length", "_last_ms", "_session_length"):
            setattr(self, name, np.r_[getattr(self, name), np.zeros(more, np.int64)])


_ITEM_BITS = 32
_ITEM_MASK = (1 << _ITEM_BITS) - 1


def _pair(user_idx: np.ndarray, item_idx: np.ndarray) -> np.ndarray:
    return (user_idx.astype(np.int64) << _ITEM_BITS) | item_idx.astype(np.int64)


def _ranges(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (row, position) for every position of the half-open ranges [low, high)."""
    sizes = high - low
    rows = np.repeat(np.arange(len(low)), sizes)
    inside = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rows, np.repeat(low, sizes) + inside


@dataclass(frozen=True)
class _ByUser:
    """A slide's events regrouped by user; inside a user the canonical order stays.

    order (n,) where each regrouped row came from; first_row (n,) the row at which its user begins;
    position (n,) its place among the user's events; last, counts (users,).
    """

    order: np.ndarray
    user_idx: np.ndarray
    item_idx: np.ndarray
    time_ms: np.ndarray
    first_row: np.ndarray
    position: np.ndarray
    last: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, user_idx: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray) -> "_ByUser":
        order = np.argsort(user_idx, kind="stable")
        users = user_idx[order]
        starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.zeros(0, np.int64)
        counts = np.diff(np.r_[starts, len(users)])
        first_row = np.repeat(starts, counts)
        position = np.arange(len(users)) - first_row
        return cls(order, users, item_idx[order], event_time_ms[order], first_row, position, starts + counts - 1, counts)
