"""A load on the stream, and what one slide of it is expected to hold: the terms of the capacity model."""

from dataclasses import dataclass, fields

import numpy as np

from dynmm_core.windows.buckets import BUCKETS
from dynmm_core.windows.pairs import PairSettings
from dynmm_core.windows.sample import bucket_share
from flows.live.config import StreamSettings

PAIRS = PairSettings()
_TRAIN_EVENTS = StreamSettings().max_train_events
_USER_EXPONENT, _ITEM_EXPONENT = 0.5, 1.0  # of Zipf's law, as in the stream benchmark's events
_GROUPS = 2_000
_PRUNE_FACTOR = 3
_NARROW_PLACES = 1 << 16  # items of a bucket that two bytes can name


@dataclass(frozen=True)
class Load:
    """Events per event-second, of so many users and items; times in ms. ``batch_rows``: events that are read at once.

    ``buckets``: over how many of the 16 the users are spread; one alone shows what a bucket holds while it closes.
    """

    rate: int
    users: int
    items: int
    slide_ms: int = 900_000
    lateness_ms: int = 60_000
    batch_rows: int = 16_384
    buckets: int = BUCKETS

    @property
    def slide_events(self) -> float:
        """Events in one slide."""
        return self.rate * self.slide_ms / 1_000


@dataclass(frozen=True)
class Counts:
    """What the buckets together have in one slide.

    ``items`` are active in it or in what users carry, each once per bucket; ``entries`` of ``users`` are carried into it;
    ``kept`` whole rows wait in it. ``pair_bytes``: the pairs as they are sent.
    """

    slides: float
    events: float
    batches: float
    pairs: float
    pair_bytes: float
    items: float
    users: float
    entries: float
    kept: float

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


def expect(load: Load, history_ms: int = PAIRS.co_click_gap_ms) -> Counts:
    """One slide at whose end the stream has run for ``history_ms``, the slide included; by default as long as users carry."""
    events, slide_s = load.slide_events, load.slide_ms / 1_000
    user, user_width = _shares(load.users, _USER_EXPONENT)
    item, item_width = _shares(load.items, _ITEM_EXPONENT)
    history_s = min(history_ms, PAIRS.co_click_gap_ms) / 1_000
    carried = user * load.rate * max(0.0, history_s - slide_s)
    entries = float(user_width @ _at_most(carried, PAIRS.co_click_lags))
    moments = [history_s - slide_s * (1 - part) for part in (0.125, 0.375, 0.625, 0.875)]
    previous = float(np.mean([(user_width * user) @ _at_most(user * load.rate * at, PAIRS.co_click_lags) for at in moments]))
    pairs = events * previous * (1 - float(item_width @ item**2))
    places = float(item_width @ -np.expm1(-item * (events + entries) / load.buckets))
    width = 2 if places < _NARROW_PLACES else 4
    share = bucket_share(_TRAIN_EVENTS)
    kept = events / load.buckets if share is None else _kept(events / load.buckets, share)
    return Counts(
        slides=1, events=events, batches=events / load.batch_rows, pairs=pairs,
        pair_bytes=events * (width * (1 + PAIRS.co_click_lags) + 1),
        items=load.buckets * places, users=float(user_width @ -np.expm1(-carried)), entries=entries, kept=load.buckets * kept,
    )  # fmt: skip


def _shares(count: int, exponent: float) -> tuple[np.ndarray, np.ndarray]:
    """Zipf's shares of ``count`` ranks in groups (g,): the mean share of each group, and how many ranks it has."""
    shares = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    starts = np.unique(np.geomspace(1, count, min(count, _GROUPS)).astype(np.int64)) - 1
    width = np.diff(starts, append=count).astype(np.float64)
    return np.add.reduceat(shares, starts) / width / shares.sum(), width


def _at_most(means: np.ndarray, most: int) -> np.ndarray:
    """The expected number (g,) of Poisson's events, those behind the first ``most`` not counted."""
    term = np.exp(-means)
    below, found = np.zeros_like(means), np.zeros_like(means)
    for number in range(most):
        below += term
        found += 1 - below
        term = term * means / (number + 1)
    bounded: np.ndarray = np.maximum(found, 0)
    return bounded


def _kept(events: float, most: int) -> float:
    """The most whole rows in one bucket's open slide: at three times the sample it drops what cannot be in it."""
    return min(events, float(_PRUNE_FACTOR * most))
