"""p(item | user, time, previous item) of a world in closed form, for blocks of requests."""

import numpy as np

from simulators.world import AFFINITY, World


class Chances:
    """The mixture that a world's events are drawn from.

    An event is noise, or shown to everybody, or the successor of the item before it in its session, or an item of a topic: the
    topic of the item before it, or one of the user's. Source: our own generator; nothing is estimated.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._exists = world.regimes.exists
        self._evenly = self._exists / self._exists.sum(axis=1, keepdims=True)
        self._sizes = np.diff(world.topic_start)

    def probabilities(self, user: np.ndarray, event_time_ms: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """Probabilities (B, items) float64 of every item, each row adding up to 1.

        ``user`` (B,), ``event_time_ms`` (B,), and ``previous`` (B,): the item before in the session (-1: none). A model sees the
        log alone, and so does this: the session is the user's events with gaps of at most 30 minutes.
        """
        out = np.zeros((len(user), self._world.settings.items))
        noise = self._noise(user, event_time_ms)
        for rows, regime, share in self._sides(user, event_time_ms):
            chance = self._of_regime(regime, self._taste(user[rows], event_time_ms[rows]), previous[rows])
            chance *= (share * (1.0 - noise[rows]))[:, None]
            if noise[rows].any():
                chance += (share * noise[rows])[:, None] * self._evenly[regime]
            out[rows] += chance
        return out

    def of_items(self, user: np.ndarray, event_time_ms: np.ndarray, previous: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Probability (n,) of one item for each request, without those of the others; shapes as in ``probabilities``."""
        out = np.zeros(len(user))
        world, noise = self._world, self._noise(user, event_time_ms)
        for rows, regime, share in self._sides(user, event_time_ms):
            mine, before = item[rows], previous[rows]
            taste = self._topics(self._taste(user[rows], event_time_ms[rows]), before)
            chance = taste[np.arange(len(mine)), world.topic_of[mine]] * world.regimes.popularity[regime, mine]
            follow, followed = self._follow(regime, before)
            chance = (1.0 - followed) * chance + followed * (follow == mine)
            exposure = world.regimes.exposure[regime]
            chance = (1.0 - exposure) * chance + exposure * world.regimes.shown[regime, mine]
            out[rows] += share * ((1.0 - noise[rows]) * chance + noise[rows] * self._evenly[regime, mine])
        return out

    def _of_regime(self, regime: int, taste: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """(b, items) without noise, for requests that are drawn from one regime."""
        regimes = self._world.regimes
        chance = np.repeat(self._topics(taste, previous), self._sizes, axis=1) * regimes.popularity[regime]
        follow, followed = self._follow(regime, previous)
        chance *= (1.0 - followed)[:, None]
        chance[np.arange(len(follow)), follow] += followed
        exposure = regimes.exposure[regime]
        mixed: np.ndarray = (1.0 - exposure) * chance + exposure * regimes.shown[regime]
        return mixed

    def _topics(self, taste: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """How often an item is drawn from each topic (b, topics), in the session as it stands."""
        stays = np.where(previous >= 0, self._world.settings.topic_stays, 0.0)
        topics: np.ndarray = (1.0 - stays)[:, None] * taste
        topics[np.arange(len(previous)), self._world.topic_of[previous]] += stays
        return topics

    def _follow(self, regime: int, previous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The successor (b,) of the item before, and how often it is taken: never at a session's start, or if it is not there."""
        follow = self._world.successor[previous]
        there = (previous >= 0) & self._exists[regime, follow]
        return follow, np.where(there, self._world.settings.successor, 0.0)

    def _taste(self, user: np.ndarray, event_time_ms: np.ndarray) -> np.ndarray:
        """How often each user draws each topic (b, topics)."""
        world = self._world
        piece, rows, topics = world.timeline.piece_of(event_time_ms), np.arange(len(user))[:, None], world.settings.topics
        own = world.affinity[user].astype(np.int64)
        taste = np.zeros((len(user), topics))
        taste[rows, own] = AFFINITY
        for shift, moved in zip(world.shifts, world.timeline.moved, strict=True):
            share = moved[piece] * shift.cohort[user]
            if share.any():
                taste *= (1.0 - share)[:, None]
                taste[rows, (own + shift.places) % topics] += share[:, None] * AFFINITY
        return taste

    def _noise(self, user: np.ndarray, event_time_ms: np.ndarray) -> np.ndarray:
        noise: np.ndarray = self._world.timeline.noise[self._world.timeline.piece_of(event_time_ms), self._world.user_class[user]]
        return noise

    def _sides(self, user: np.ndarray, event_time_ms: np.ndarray) -> list[tuple[np.ndarray, int, np.ndarray]]:
        """The requests (rows, regime, share of the regime in each), those under a gradual drift once for each of its regimes."""
        line = self._world.timeline
        piece = line.piece_of(event_time_ms)
        progress = line.progress(piece, event_time_ms)
        both = line.regime[piece, self._world.user_class[user]]
        sides = []
        for side, share in ((0, 1.0 - progress), (1, progress)):
            for regime in np.unique(both[share > 0, side]).tolist():
                rows = np.flatnonzero((share > 0) & (both[:, side] == regime))
                sides.append((rows, regime, share[rows]))
        return sides
