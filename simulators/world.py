"""The world behind a stream: topics, items, users, and what drifts make of them; all of it follows from seed and schedule."""

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dynmm_core.randomness import derive_seed
from dynmm_core.times import HOUR_MS
from simulators.drifts import Drift, Ground, resolve
from simulators.names import numbers_of
from simulators.regimes import RegimeBuilder, Regimes
from simulators.schedule import DriftPlan, read_preset
from simulators.settings import StreamSettings, cut_time_ms
from simulators.timeline import Timeline, make_timeline

AFFINITY = np.array([0.6, 0.3, 0.1])
FACTORS = 16
_WITHIN_TOPIC = 0.6


@dataclass(frozen=True)
class Shift:
    """A cohort's new taste: which users (users,) bool take to the topics so many places further."""

    cohort: np.ndarray
    places: int


@dataclass(frozen=True)
class World:
    """What events are drawn from.

    topic_start (topics + 1,): the items of topic k are topic_start[k] … topic_start[k + 1] - 1; topic_of (items,); factors
    (items, FACTORS) float64; successor (items,) the item that tends to follow; affinity (users, 3) topics of a user, drawn with
    ``AFFINITY``; activity (users,) weights of users; users from ``first_newcomer`` on come in the online part alone;
    user_class (users,) by which drifts affect them.
    """

    settings: StreamSettings
    plans: tuple[DriftPlan, ...]
    topic_start: np.ndarray
    topic_of: np.ndarray
    factors: np.ndarray
    successor: np.ndarray
    affinity: np.ndarray
    activity: np.ndarray
    first_newcomer: int
    user_class: np.ndarray
    drifts: tuple[Drift, ...]
    shifts: tuple[Shift, ...]
    timeline: Timeline
    regimes: Regimes

    def fingerprint(self) -> str:
        """A hash over everything that probabilities depend on."""
        digest = hashlib.sha256()
        line = self.timeline
        for array in (
            self.topic_start, self.successor, self.affinity, self.user_class, line.start_ms, line.regime, line.noise, line.moved,
            *(shift.cohort for shift in self.shifts), np.array([shift.places for shift in self.shifts]),
        ):  # fmt: skip
            digest.update(np.ascontiguousarray(array).tobytes())
        # The last digits of a power are the machine's own.
        for shares in (self.regimes.popularity, self.regimes.shown, self.regimes.exposure):
            digest.update(np.round(shares, 9).tobytes())
        return digest.hexdigest()


def make_world(settings: StreamSettings, plans: tuple[DriftPlan, ...] | None = None) -> World:
    """Draw a world with these drifts, or with those of the preset ``demo``.

    Raises:
        UserError: the drifts contradict each other, or do not fit into the stream.
    """
    plans = read_preset("demo").drift if plans is None else plans
    topic_start = _topic_start(settings)
    topic_of = np.repeat(np.arange(settings.topics), np.diff(topic_start))
    factors = _factors(settings, topic_of)
    rng = _generator(settings, "users")
    affinity = np.argsort(rng.random((settings.users, settings.topics)), axis=1)[:, : len(AFFINITY)]
    activity = rng.lognormal(0.0, 1.0, settings.users)
    segment_of = affinity[:, 0] * settings.segments // settings.topics
    drifts = resolve(plans, _ground(settings, topic_of, segment_of))
    user_class, reached = _classes(drifts, settings.users)
    builder = RegimeBuilder(settings, topic_start, _weights(settings, topic_start), _shown(settings), drifts)
    timeline = make_timeline(drifts, reached, builder)
    first_newcomer = int(settings.users * (1.0 - settings.newcomers))
    return World(
        settings, plans, topic_start, topic_of, factors, _successors(topic_start, factors), affinity.astype(np.int16), activity,
        first_newcomer, user_class, drifts, _shifts(drifts, settings), timeline, builder.build(),
    )  # fmt: skip


def _ground(settings: StreamSettings, topic_of: np.ndarray, segment_of: np.ndarray) -> Ground:
    return Ground(
        settings.seed, cut_time_ms(), settings.online_hours * HOUR_MS, topic_of, settings.topics, segment_of, settings.segments,
        lambda field, names: numbers_of(field[0], list(names)),
    )  # fmt: skip


def _generator(settings: StreamSettings, purpose: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(settings.seed, 0, f"world/{purpose}"))


def _topic_start(settings: StreamSettings) -> np.ndarray:
    per_topic = np.full(settings.topics, settings.items // settings.topics)
    per_topic[: settings.items % settings.topics] += 1
    return np.concatenate([[0], np.cumsum(per_topic)])


def _factors(settings: StreamSettings, topic_of: np.ndarray) -> np.ndarray:
    rng = _generator(settings, "factors")
    centre = rng.normal(size=(settings.topics, FACTORS))
    factors: np.ndarray = centre[topic_of] + _WITHIN_TOPIC * rng.normal(size=(settings.items, FACTORS))
    return factors


def _weights(settings: StreamSettings, topic_start: np.ndarray) -> np.ndarray:
    """Popularity (items,) by Zipf's law inside each topic, in an order of chance."""
    rng = _generator(settings, "popularity")
    sizes = np.diff(topic_start)
    return np.concatenate([rng.permutation(np.arange(1.0, size + 1) ** -settings.popularity_exponent) for size in sizes])


def _shown(settings: StreamSettings) -> np.ndarray:
    """What is shown to everybody (items,): a few items, the first far more often than the last."""
    shown = np.zeros(settings.items)
    count = max(1, round(settings.exposed_items * settings.items))
    shown[_generator(settings, "shown").permutation(settings.items)[:count]] = 1.0 / np.arange(1, count + 1)
    return shown


def _successors(topic_start: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """A ring through each topic, around its centre, so that an item and its successor are alike."""
    successor = np.zeros(len(factors), np.int64)
    for start, stop in pairwise(topic_start):
        inner = factors[start:stop] - factors[start:stop].mean(axis=0)
        ring = start + np.argsort(np.arctan2(inner[:, 0], inner[:, 1]), kind="stable")
        successor[ring] = np.roll(ring, -1)
    return successor


def _classes(drifts: tuple[Drift, ...], users: int) -> tuple[np.ndarray, np.ndarray]:
    """Class (users,) of each user, and which drifts reach which class (drifts, classes)."""
    member = np.ones((len(drifts), users), bool)
    for place, drift in enumerate(drifts):
        if drift.users is not None:
            member[place] = False
            member[place, drift.users] = True
    if not len(drifts):
        return np.zeros(users, np.int16), np.ones((0, 1), bool)
    reached, user_class = np.unique(member, axis=1, return_inverse=True)
    return user_class.reshape(-1).astype(np.int16), reached


def _shifts(drifts: tuple[Drift, ...], settings: StreamSettings) -> tuple[Shift, ...]:
    shifts = []
    for drift in drifts:
        if drift.kind == "cohort_shift":
            cohort = np.ones(settings.users, bool)
            if drift.users is not None:
                cohort[:] = False
                cohort[drift.users] = True
            # Topics of a user lie anywhere, so some of the new ones may be old ones; never all of them at the same place.
            shifts.append(Shift(cohort, int(drift.generator(settings.seed, "places").integers(1, settings.topics))))
    return tuple(shifts)
