"""Events drawn from a world: sessions in hours, topic then item, all users at once."""

from dataclasses import dataclass

import numpy as np

from simulators.world import AFFINITY, HISTORY_HOURS, HISTORY_SHARE, World

HOUR_MS = 3_600_000
FIRST_HOUR_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC
MAX_SESSION = 12
SESSION_END = 0.25


@dataclass(frozen=True)
class Stream:
    """A log in time order: user, item (both from 0) and event_time_ms, each (events,)."""

    user: np.ndarray
    item: np.ndarray
    event_time_ms: np.ndarray


def cut_time_ms() -> int:
    """Return the moment that parts history from the online part."""
    return FIRST_HOUR_MS + HISTORY_HOURS * HOUR_MS


def draw_stream(world: World) -> Stream:
    """Draw every event of a world's stream; the same settings give the same bytes on one NumPy build."""
    settings = world.settings
    history = int(HISTORY_SHARE * settings.events)
    parts = [
        _draw_part(world, history, 0, HISTORY_HOURS, np.random.default_rng([settings.seed, 2])),
        _draw_part(
            world, settings.events - history, HISTORY_HOURS, settings.online_hours, np.random.default_rng([settings.seed, 3])
        ),
    ]
    user, item, time = (np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "item", "event_time_ms"))
    order = np.argsort(time, kind="stable")
    return Stream(user[order], item[order], time[order])


def _draw_part(world: World, events: int, first_hour: int, hours: int, rng: np.random.Generator) -> Stream:
    """Draw exactly ``events`` events in sessions that never leave their hour."""
    lengths = np.minimum(rng.geometric(SESSION_END, events), MAX_SESSION)
    ends = np.cumsum(lengths)
    sessions = int(np.searchsorted(ends, events)) + 1
    lengths = lengths[:sessions]
    lengths[-1] -= ends[sessions - 1] - events
    user = _users_of(world, sessions, first_hour == 0, rng)
    hour = _hours_of(sessions, first_hour, hours, rng)
    regime = np.searchsorted([HISTORY_HOURS + drift.online_hour for drift in world.drifts], hour, "right")
    items = _draw_items(world, user, regime, lengths, rng)
    # Twelve steps of at most a minute and a half after a start in the first forty minutes stay inside the hour.
    start = hour * HOUR_MS + rng.integers(0, 40 * 60_000, sessions)
    offset = np.cumsum(rng.integers(5_000, 90_000, (sessions, MAX_SESSION)), axis=1)
    inside = np.arange(MAX_SESSION) < lengths[:, None]
    time = FIRST_HOUR_MS + start[:, None] + offset
    return Stream(np.repeat(user, lengths), items[inside], time[inside])


def _users_of(world: World, sessions: int, history: bool, rng: np.random.Generator) -> np.ndarray:
    """Give every session a user, by activity; newcomers come in the online part alone, and everybody comes at least once."""
    users = np.arange(world.settings.users)
    newcomer = users >= world.first_newcomer
    weight = np.where(newcomer, 0.0, world.activity) if history else world.activity
    drawn = rng.choice(users, sessions, p=weight / weight.sum())
    due = rng.permutation(users[newcomer != history])[:sessions]
    drawn[rng.permutation(sessions)[: len(due)]] = due
    return drawn


def _hours_of(sessions: int, first_hour: int, hours: int, rng: np.random.Generator) -> np.ndarray:
    """Give every session an hour, by a daily cycle; no hour stays empty."""
    clock = np.arange(first_hour, first_hour + hours)
    weight = 1.0 + 0.6 * np.sin((clock % 24 - 9) / 24 * 2 * np.pi)
    drawn = rng.choice(clock, sessions, p=weight / weight.sum())
    drawn[: min(hours, sessions)] = clock[: min(hours, sessions)]
    return drawn


def _draw_items(world: World, user: np.ndarray, regime: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw (sessions, MAX_SESSION) items: the topic stays or is drawn anew, the item follows its forerunner or popularity."""
    settings = world.settings
    cumulative = np.concatenate([[0.0], np.cumsum(world.weights.reshape(-1))])
    items = np.zeros((len(user), MAX_SESSION), np.int64)
    topic = _draw_topics(world, user, rng)
    for step in range(int(lengths.max())):
        if step:
            topic = np.where(rng.random(len(user)) < settings.topic_stays, topic, _draw_topics(world, user, rng))
        base = regime * settings.items
        low, high = cumulative[base + world.topic_start[topic]], cumulative[base + world.topic_start[topic + 1]]
        drawn = np.searchsorted(cumulative, low + rng.random(len(user)) * (high - low), "right") - 1 - base
        follow = world.successor[items[:, step - 1]]
        exists = world.weights[regime, follow] > 0
        chosen = (rng.random(len(user)) < settings.successor) & exists & (step > 0)
        items[:, step] = np.where(chosen, follow, drawn)
    return items


def _draw_topics(world: World, user: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    place = np.searchsorted(np.cumsum(AFFINITY)[:-1], rng.random(len(user)), "right")
    return np.asarray(world.affinity[user, place])
