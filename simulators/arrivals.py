"""Who comes when: sessions by daily and weekly cycles, in bursts; each event with the moment at which it arrives."""

import numpy as np

from dynmm_core.randomness import derive_seed
from dynmm_core.times import HOUR_MS
from simulators.alias import AliasTables
from simulators.settings import HISTORY_HOURS, StreamSettings

MAX_SESSION = 12
SESSION_END = 0.25
SESSION_GAP_MS = 30 * 60_000
_SHORTEST_MS, _LONGEST_MS = 5_000, 90_000
# No session that starts so early in an hour leaves it.
_LAST_START_MS = HOUR_MS - MAX_SESSION * _LONGEST_MS
_MINUTE_MS = 60_000


def draw_visits(
    settings: StreamSettings, activity: np.ndarray, first_newcomer: int, online: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw users (n,) and times (n,), in ms behind the first hour, of exactly the history's or the online part's events.

    No session leaves its part, no hour stays empty, and everybody comes once at least where there are sessions enough.
    """
    part, first, hours = ("online", HISTORY_HOURS, settings.online_hours) if online else ("history", 0, HISTORY_HOURS)
    events = settings.events - settings.history_events if online else settings.history_events
    rng = np.random.default_rng(derive_seed(settings.seed, 0, f"visits/{part}"))
    lengths = _lengths(events, rng)
    user = _users_of(activity, first_newcomer, online, len(lengths), rng)
    start = _starts(settings, first, hours, len(lengths), rng)
    first_row = np.cumsum(lengths) - lengths
    steps = rng.integers(_SHORTEST_MS, _LONGEST_MS, events)
    steps[first_row] = 0
    walked = np.cumsum(steps)
    walked -= np.repeat(walked[first_row] - start, lengths)
    return np.repeat(user, lengths), walked


def draw_arrivals(settings: StreamSettings, event_time_ms: np.ndarray) -> np.ndarray:
    """Draw when each event (n,) arrives: an exponential time after it, one in fifty of them ten times as much."""
    rng = np.random.default_rng(derive_seed(settings.seed, 0, "arrivals"))
    delay = rng.exponential(settings.arrival_delay_ms, len(event_time_ms))
    slow = rng.integers(0, len(delay), len(delay) // 50)
    delay[slow] *= 10.0
    arrived: np.ndarray = event_time_ms + delay.astype(np.int64)
    return arrived


def _lengths(events: int, rng: np.random.Generator) -> np.ndarray:
    """Lengths (sessions,) of sessions that have ``events`` events in all."""
    lengths = np.minimum(rng.geometric(SESSION_END, events), MAX_SESSION)
    ends = np.cumsum(lengths)
    sessions = int(np.searchsorted(ends, events)) + 1
    lengths = lengths[:sessions]
    lengths[-1] -= ends[sessions - 1] - events
    return lengths


def _users_of(activity: np.ndarray, first_newcomer: int, online: bool, sessions: int, rng: np.random.Generator) -> np.ndarray:
    """Give every session (sessions,) a user, by activity."""
    newcomer = np.arange(len(activity)) >= first_newcomer
    weight = activity if online else np.where(newcomer, 0.0, activity)
    drawn = AliasTables.of(weight).draw(np.zeros(sessions, np.int64), rng.random(sessions))
    due = rng.permutation(np.flatnonzero(newcomer == online))[:sessions]
    drawn[rng.permutation(sessions)[: len(due)]] = due
    return drawn


def _starts(settings: StreamSettings, first_hour: int, hours: int, sessions: int, rng: np.random.Generator) -> np.ndarray:
    """Start (sessions,) of each session in ms behind the first hour of the stream."""
    minute = np.arange(hours * 60)
    clock = first_hour + minute / 60
    daily = 1.0 + settings.daily_cycle * np.sin((clock % 24 - 9) / 24 * 2 * np.pi)
    weekly = 1.0 - settings.weekly_cycle * (clock // 24 % 7 >= 5)  # less at weekends
    rate = daily * weekly
    if settings.burstiness:
        rate *= rng.gamma(1.0 / settings.burstiness, settings.burstiness, len(minute))
    rate[-(MAX_SESSION * _LONGEST_MS) // _MINUTE_MS :] = 0.0
    drawn = AliasTables.of(rate).draw(np.zeros(sessions, np.int64), rng.random(sessions))
    start = drawn * _MINUTE_MS + rng.integers(0, _MINUTE_MS, sessions)
    covered = min(hours, sessions)
    start[:covered] = np.arange(covered) * HOUR_MS + rng.integers(0, _LAST_START_MS, covered)
    moved: np.ndarray = first_hour * HOUR_MS + start
    return moved
