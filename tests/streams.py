"""Small random streams in slides, and what a model may know at each moment, told the slow way."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.baselines.contract import Facts, Requests
from dynmm_core.evidence.recents import RECENT_ITEMS, Recents

SLIDE_MS = 600_000
SESSION_GAP_MS = 1_800_000


@dataclass(frozen=True)
class Event:
    """One event, and what its user did before: the newest last, as (item, time)."""

    user: int
    item: int
    time_ms: int
    before: tuple[tuple[int, int], ...]
    session_position: int


def stream(rows: list[tuple[int, int, int]]) -> list[Event]:
    """Turn (user, item, gap in ms since the event before) into events; items get indices in order of their first event."""
    events: list[Event] = []
    past: dict[int, list[tuple[int, int]]] = {}
    session: dict[int, int] = {}
    index: dict[int, int] = {}
    time_ms = 0
    for user, name, gap_ms in rows:
        time_ms += gap_ms
        item = index.setdefault(name, len(index) + 1)
        mine = past.setdefault(user, [])
        running = bool(mine) and time_ms - mine[-1][1] <= SESSION_GAP_MS
        session[user] = session[user] + 1 if running else 0
        events.append(Event(user, item, time_ms, tuple(mine), session[user]))
        mine.append((item, time_ms))
    return events


def in_slides(events: list[Event], slide_ms: int = SLIDE_MS) -> list[list[Event]]:
    """Split events at whole multiples of the slide; empty slides are left out."""
    found: dict[int, list[Event]] = {}
    for event in events:
        found.setdefault(event.time_ms // slide_ms, []).append(event)
    return [found[number] for number in sorted(found)]


def facts(slide: list[Event]) -> Facts:
    """One slide as a model takes it in."""
    return Facts(
        (slide[0].time_ms // SLIDE_MS + 1) * SLIDE_MS,
        np.array([event.user for event in slide]),
        np.array([event.item for event in slide]),
        np.array([event.time_ms for event in slide]),
        np.array([event.session_position for event in slide]),
        _recents(slide),
    )


def requests(slide: list[Event], targets: list[int] | None = None) -> Requests:
    """One slide's events as requests, with event history; ``targets`` in place of their items."""
    pairs = [(row, item) for row, event in enumerate(slide) for item in sorted({item for item, _ in event.before})]
    return Requests(
        np.array([event.user for event in slide]),
        np.array([event.item for event in slide] if targets is None else targets),
        np.array([event.time_ms for event in slide]),
        _recents(slide),
        np.array([event.session_position for event in slide]),
        np.array([len(event.before) for event in slide]),
        np.array([row for row, _ in pairs], np.int64),
        np.array([item for _, item in pairs], np.int64),
    )


def _recents(slide: list[Event]) -> Recents:
    items, times = np.zeros((len(slide), RECENT_ITEMS), np.int64), np.zeros((len(slide), RECENT_ITEMS), np.int64)
    for row, event in enumerate(slide):
        for k, (item, time_ms) in enumerate(reversed(event.before[-RECENT_ITEMS:])):
            items[row, k], times[row, k] = item, time_ms
    return Recents(items, times)
