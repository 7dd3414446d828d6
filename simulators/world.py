"""The world behind a stream: topics, items, users, and what drift does to them."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

HISTORY_HOURS = 168
HISTORY_SHARE = 0.7
ABRUPT, BIRTH = "abrupt", "item_birth"
NEWCOMERS = 0.15


class StreamSettings(BaseModel):
    """Size and seed of a stream; the last 30 % of its events fill ``online_hours`` one-hour windows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0)
    events: int = Field(160_000, ge=1_000)
    users: int = Field(10_000, ge=10)
    items: int = Field(3_000, ge=60)
    online_hours: int = Field(72, ge=6)
    topics: int = Field(30, ge=2)
    birth_share: float = Field(0.25, ge=0.0, lt=1.0)
    topic_stays: float = Field(0.85, ge=0.0, le=1.0)
    successor: float = Field(0.3, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _enough_items(self) -> "StreamSettings":
        if self.items < 2 * self.topics:
            raise ValueError(f"items: {self.items} must be at least twice the topics, {self.topics}")
        return self


@dataclass(frozen=True)
class Drift:
    """One change with a known moment: its kind, the first hour of the online part that has it, and whom it affects."""

    kind: str
    online_hour: int
    items: np.ndarray


@dataclass(frozen=True)
class World:
    """What events are drawn from.

    topic_start (topics + 1,): the items of topic k are topic_start[k] … topic_start[k + 1] - 1; weights (regimes, items):
    popularity inside the topic, 0 where an item does not exist; successor (items,) the item that tends to follow;
    affinity (users, 3) topics of a user, drawn with ``AFFINITY``; activity (users,) weights of users; users from
    ``first_newcomer`` on come in the online part alone.
    """

    settings: StreamSettings
    topic_start: np.ndarray
    weights: np.ndarray
    successor: np.ndarray
    affinity: np.ndarray
    activity: np.ndarray
    first_newcomer: int
    drifts: tuple[Drift, ...]


AFFINITY = np.array([0.6, 0.3, 0.1])


def make_world(settings: StreamSettings) -> World:
    """Draw a world: two drifts, an abrupt change of popularity and, later, new items that rise at once."""
    rng = np.random.default_rng([settings.seed, 1])
    per_topic = np.full(settings.topics, settings.items // settings.topics)
    per_topic[: settings.items % settings.topics] += 1
    topic_start = np.r_[0, np.cumsum(per_topic)]
    born = np.zeros(settings.items, bool)
    before, after, successor = np.zeros(settings.items), np.zeros(settings.items), np.zeros(settings.items, np.int64)
    for start, stop in pairwise(topic_start):
        size = stop - start
        born[stop - max(1, size // 20) : stop] = True
        zipf = 1.0 / np.arange(1, size + 1)
        before[start:stop] = zipf[rng.permutation(size)]
        after[start:stop] = zipf[rng.permutation(size)]
        ring = start + rng.permutation(size)
        successor[ring] = np.roll(ring, -1)
    weights = np.stack([np.where(born, 0.0, before), np.where(born, 0.0, after), np.where(born, 0.0, after)])
    for start, stop in pairwise(topic_start):
        newcomers = np.arange(start, stop)[born[start:stop]]
        share = settings.birth_share / (1.0 - settings.birth_share)
        weights[2, newcomers] = share * weights[2, start:stop].sum() / len(newcomers)
    affinity = np.argsort(rng.random((settings.users, settings.topics)), axis=1)[:, : len(AFFINITY)]
    activity = rng.lognormal(0.0, 1.0, settings.users)
    newcomer = int(settings.users * (1.0 - NEWCOMERS))
    drifts = (
        Drift(ABRUPT, settings.online_hours // 3, np.flatnonzero(~born)),
        Drift(BIRTH, 2 * settings.online_hours // 3, np.flatnonzero(born)),
    )
    return World(settings, topic_start, weights, successor, affinity, activity, newcomer, drifts)
