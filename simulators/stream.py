"""Events drawn from a world: who comes when first, then item after item of every session, all sessions at once."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dynmm_core.randomness import derive_seed
from dynmm_core.times import HOUR_MS
from simulators.alias import AliasTables
from simulators.arrivals import SESSION_GAP_MS, draw_arrivals, draw_visits
from simulators.settings import FIRST_HOUR_MS
from simulators.world import AFFINITY, World


@dataclass(frozen=True)
class Stream:
    """A log in time order, each (events,): user and item (both from 0), event_time_ms, ingest_time_ms, and ``previous``, the
    item before it in its session, -1 for the first one.
    """

    user: np.ndarray
    item: np.ndarray
    event_time_ms: np.ndarray
    ingest_time_ms: np.ndarray
    previous: np.ndarray


def draw_stream(world: World) -> Stream:
    """Draw every event of a world's stream; the same settings give the same bytes on one NumPy build."""
    user, time = _visits(world)
    item, previous = _draw_items(world, user, time)
    order = _by_time(time)
    time = time[order] + FIRST_HOUR_MS
    ingested = draw_arrivals(world.settings, time)
    return Stream(user[order], item[order], time, ingested, previous[order])


def previous_items(user: np.ndarray, item: np.ndarray, event_time_ms: np.ndarray) -> np.ndarray:
    """The session state that the truth hangs on: the user's event before, at most 30 minutes ago; -1 (events,) where none is.

    ``user``, ``item`` (any integers from 0) and times (events,) are those of a whole log in time order.
    """
    order = np.lexsort((np.arange(len(user)), user))
    follows = np.zeros(len(user), bool)
    follows[1:] = _follows(user[order], event_time_ms[order])
    previous = np.full(len(user), -1, np.int64)
    previous[order[follows]] = item[order[np.flatnonzero(follows) - 1]]
    return previous


def _follows(user: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Which events (n - 1,) but the first continue a session, for events by user and time."""
    same: np.ndarray = (user[1:] == user[:-1]) & (time[1:] - time[:-1] <= SESSION_GAP_MS)
    return same


def _visits(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Users (events,) and times (events,) in ms behind the first hour, by user and then by time."""
    settings = world.settings
    parts = [draw_visits(settings, world.activity, world.first_newcomer, online) for online in (False, True)]
    user, time = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    span = settings.hours * HOUR_MS
    packed = np.sort(user * span + time)  # an order of whole values: equal ones are alike
    user, time = np.divmod(packed, span)
    return user, time


def _by_time(time: np.ndarray) -> np.ndarray:
    """The stable order (events,) by time, from a sort of whole values."""
    bits = max(1, int(len(time) - 1).bit_length())
    order: np.ndarray = np.sort((time << bits) | np.arange(len(time))) & ((1 << bits) - 1)
    return order


def _draw_items(world: World, user: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw the item (events,) of each event and name the one before it in its session, for events by user and time."""
    chances = _Chances(world, user, time + FIRST_HOUR_MS)
    follows = np.concatenate([[False], _follows(user, time)])
    place = np.arange(len(user))
    rank = place - np.maximum.accumulate(np.where(follows, 0, place))
    by_rank = np.argsort(rank.astype(np.uint16) if rank.max() < 65_536 else rank, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(rank))]).tolist()
    item, previous = np.zeros(len(user), np.int64), np.full(len(user), -1, np.int64)
    for number, (first, last) in enumerate(pairwise(bounds)):
        rows = by_rank[first:last]
        if number:
            previous[rows] = item[rows - 1]
        item[rows] = chances.draw(rows, previous[rows] if number else None)
    return item, previous


class _Chances:
    """All that is drawn for each event but what hangs on the item before it."""

    def __init__(self, world: World, user: np.ndarray, event_time_ms: np.ndarray) -> None:
        # What drifts alone draw is named apart, so that streams with other drifts have the same history.
        rng, rng_ramp, rng_taste = (_generator(world, f"items{part}") for part in ("", "/ramp", "/taste"))
        line, regimes = world.timeline, world.regimes
        piece, group = line.piece_of(event_time_ms), world.user_class[user]
        second = np.zeros(len(user), np.int64)
        ramp = np.flatnonzero(np.isfinite(line.ramp_ms[piece]))
        second[ramp] = rng_ramp.random(len(ramp)) < line.progress(piece[ramp], event_time_ms[ramp])
        self._world, self._regime = world, line.regime[piece, group, second]
        self._topic = _draw_topics(world, user, piece, rng, rng_taste)
        self._pick, self._way, self._stay = (rng.random(len(user)) for _ in range(3))
        starts = np.concatenate([world.topic_start[:-1] + row * world.settings.items for row in range(len(regimes.exposure))])
        starts = np.append(starts, regimes.popularity.size)
        self._tables = AliasTables.of(regimes.popularity.reshape(-1), starts)
        self._exists = regimes.exists
        noisy, shown = rng.random(len(user)), rng.random(len(user))
        self._aside = np.full(len(user), -1, np.int64)  # items drawn past topic and session
        self._draw_aside(np.flatnonzero(shown < regimes.exposure[self._regime]), regimes.shown)
        self._draw_aside(np.flatnonzero(noisy < line.noise[piece, group]), self._exists.astype(float))

    def _draw_aside(self, rows: np.ndarray, weights: np.ndarray) -> None:
        for regime in np.unique(self._regime[rows]):
            mine = rows[self._regime[rows] == regime]
            self._aside[mine] = AliasTables.of(weights[regime]).draw(np.zeros(len(mine), np.int64), self._pick[mine])

    def draw(self, rows: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
        """Draw items (n,) for the events ``rows``; ``previous`` (n,) are the items before them, None at the start."""
        world, regime, topic = self._world, self._regime[rows], self._topic[rows]
        if previous is not None:
            topic = np.where(self._stay[rows] < world.settings.topic_stays, world.topic_of[previous], topic)
        item = self._tables.draw(regime * world.settings.topics + topic, self._pick[rows])
        item -= regime * world.settings.items
        if previous is not None:
            follow = world.successor[previous]
            item = np.where((self._way[rows] < world.settings.successor) & self._exists[regime, follow], follow, item)
        aside = self._aside[rows]
        drawn: np.ndarray = np.where(aside >= 0, aside, item)
        return drawn


def _generator(world: World, purpose: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(world.settings.seed, 0, purpose))


def _draw_topics(
    world: World, user: np.ndarray, piece: np.ndarray, rng: np.random.Generator, rng_taste: np.random.Generator
) -> np.ndarray:
    """A topic (events,) by each event's user, in the taste of its time: ``rng_taste`` says who has taken to the new one."""
    place = np.searchsorted(np.cumsum(AFFINITY)[:-1], rng.random(len(user)), "right")
    topic: np.ndarray = world.affinity[user, place].astype(np.int64)
    for shift, moved in zip(world.shifts, world.timeline.moved, strict=True):
        if not moved.any():
            continue
        rows = np.flatnonzero((moved[piece] > 0) & shift.cohort[user])
        rows = rows[rng_taste.random(len(rows)) < moved[piece[rows]]]
        topic[rows] = (world.affinity[user[rows], place[rows]] + shift.places) % world.settings.topics
    return topic
