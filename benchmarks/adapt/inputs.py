"""A seeded stream with the skew of a news site: a few live items take most clicks, and tomorrow they are others."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.model.bundle import CutState
from dynmm_core.randomness import derive_seed
from dynmm_core.times import HOUR_MS

START_MS = 1_700_000_400_000 // HOUR_MS * HOUR_MS
PAST_HOURS, PAST_EVENTS_PER_HOUR = 168, 1_000
CONTEXT_VALUES = (8, 4)
_LIVE, _LIVE_SHIFT = 4_000, 400  # items that are clicked on one day, and how many of them are replaced by the next
_TAIL = 0.01  # of the clicks go anywhere in the catalogue
_FOLLOW, _NEAR = 0.5, 20  # of the clicks stay so near, in ranks, to what the session began with
_CLICKS_PER_SESSION, _CLICK_GAP_MS, _DAY_MS = 4.0, 60_000.0, 24 * HOUR_MS


@dataclass(frozen=True)
class StreamShape:
    """``items`` of the catalogue, ``users``, ``events`` in each of ``slides`` slides of an hour behind a week of the past."""

    items: int
    users: int
    events: int
    slides: int


def draw_stream(shape: StreamShape, seed: int) -> tuple[CutState, int]:
    """Return the events, those of the past first, and the row where the slides begin.

    Popularity falls as 1 / rank among the live items; users' activity falls as 1 / √rank.
    """
    random = np.random.Generator(np.random.Philox(derive_seed(seed, shape.items, "adapt-stream")))
    place = 1 + random.permutation(shape.items)
    cut_ms = START_MS + PAST_HOURS * HOUR_MS
    past = _events(random, shape, place, PAST_HOURS * PAST_EVENTS_PER_HOUR, START_MS, cut_ms)
    online = _events(random, shape, place, shape.slides * shape.events, cut_ms, cut_ms + shape.slides * HOUR_MS)
    users, items, times = (np.r_[before, behind] for before, behind in zip(past, online, strict=True))
    context = np.stack([random.integers(0, values, len(times)) for values in CONTEXT_VALUES], axis=1)
    return CutState([], [], users, items, times, context), len(past[0])


def _events(
    random: np.random.Generator, shape: StreamShape, place: np.ndarray, events: int, start_ms: int, stop_ms: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and times (events,) in canonical order of sessions that begin evenly in [start_ms, stop_ms)."""
    lengths = random.geometric(1.0 / _CLICKS_PER_SESSION, events)
    session = np.repeat(np.arange(events), lengths)[:events]
    first = np.r_[True, session[1:] != session[:-1]]
    gaps = np.where(first, 0.0, random.exponential(_CLICK_GAP_MS, events)).cumsum()
    begun = random.uniform(start_ms, stop_ms, events)
    times = np.minimum((begun[session] + gaps - gaps[first][session]).astype(np.int64), stop_ms - 1)
    users = 1 + (shape.users * random.random(events) ** 2).astype(np.int64)[session]
    live = min(_LIVE, shape.items)
    topic = _by_rank(random, live, events)[session]
    follows = random.random(events) < _FOLLOW
    near, anywhere = topic + _by_rank(random, _NEAR, events), _by_rank(random, live, events)
    rank = np.where(follows, near % live, anywhere)
    day = (times - START_MS) // _DAY_MS
    items = place[(rank + day * _LIVE_SHIFT) % shape.items]
    items = np.where(random.random(events) < _TAIL, random.integers(1, shape.items + 1, events), items)
    order = np.lexsort((items, users, times))
    return users[order], items[order], times[order]


def _by_rank(random: np.random.Generator, ranks: int, n: int) -> np.ndarray:
    """Ranks (n,) from 0, each about as likely as 1 / (rank + 1)."""
    drawn = np.exp(random.random(n) * np.log(ranks + 1)).astype(np.int64) - 1
    return np.minimum(drawn, ranks - 1)
