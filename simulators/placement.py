"""When and by which partition messages come, chosen so that what becomes of each is known."""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

NOWHERE_MS = -1
FOREVER_MS = 1 << 62
_FURTHEST_SLIDES = 4  # late events come up to so many slides too late


class Outcome(IntEnum):
    """What becomes of a message. DUPLICATE is found in its slide, LATE_DUPLICATE where it is read."""

    USED = 0
    LATE = 1
    DUPLICATE = 2
    LATE_DUPLICATE = 3
    DEAD = 4


class _Copy(IntEnum):
    NEAR = 0  # in time, on the event's own partition
    ELSEWHERE = 1  # in time, on another
    BEHIND = 2  # late by less than a slide, own partition: known there as a duplicate
    FAR_BEHIND = 3  # late by more: no longer known, so late
    LATE_ELSEWHERE = 4  # a partition that never saw the event: late


@dataclass(frozen=True)
class Rules:
    """How the reader decides, times in ms; ``silent_from_ms`` (partitions,) when each partition stops sending."""

    partitions: int
    slide_ms: int
    allowed_lateness_ms: int
    max_skew_ms: int | None
    silent_from_ms: np.ndarray

    def late_from_ms(self, event_time_ms: np.ndarray) -> np.ndarray:
        """The newest event time of a partition with which these events (n,) become late there."""
        late_from: np.ndarray = (event_time_ms // self.slide_ms + 1) * self.slide_ms + self.allowed_lateness_ms
        return late_from


@dataclass(frozen=True)
class Placed:
    """Messages (n,): source row, event time, partition, when they come, rank among those that come then, and their outcome.

    No event time lies after its arrival, so whatever comes in a partition up to some moment leaves its clock at or before it.
    """

    row: np.ndarray
    event_time_ms: np.ndarray
    partition: np.ndarray
    arrival_ms: np.ndarray
    rank: np.ndarray
    outcome: np.ndarray

    @classmethod
    def in_order(cls, event_time_ms: np.ndarray, partition: np.ndarray) -> "Placed":
        """Every event at its own time."""
        nothing = np.zeros(len(event_time_ms), np.uint8)
        return cls(np.arange(len(nothing)), event_time_ms, partition, event_time_ms.copy(), nothing, nothing.copy())

    def joined(self, other: "Placed") -> "Placed":
        """These and further messages, by partition in the order in which each is to be sent."""
        names = ("row", "event_time_ms", "partition", "arrival_ms", "rank", "outcome")
        row, time, partition, arrival, rank, outcome = (
            np.concatenate([getattr(self, name), getattr(other, name)]) for name in names
        )
        order = np.lexsort((row, rank, arrival, partition))
        return Placed(row[order], time[order], partition[order], arrival[order], rank[order], outcome[order])


class Carriers:
    """The events that come in order and in time. Directly behind one of them the clock of its partition stands at its time."""

    def __init__(self, event_time_ms: np.ndarray, partition: np.ndarray, partitions: int) -> None:
        self._times = [event_time_ms[partition == number] for number in range(partitions)]

    def pick(self, partition: np.ndarray, low_ms: np.ndarray, high_ms: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """For each (n,) the time of a carrier in its partition from ``low_ms`` to before ``high_ms``, or NOWHERE_MS.

        The first, the last and any of them equally often: mistakes live at the bounds.
        """
        first, last = np.zeros(len(partition), np.int64), np.zeros(len(partition), np.int64)
        for number, times in enumerate(self._times):
            mine = partition == number
            first[mine], last[mine] = np.searchsorted(times, low_ms[mine]), np.searchsorted(times, high_ms[mine])
        share = np.choose(rng.integers(0, 3, len(partition)), [0.0, 1.0, rng.random(len(partition))])
        place = first + np.minimum((share * (last - first)).astype(np.int64), last - first - 1)
        picked = np.full(len(partition), NOWHERE_MS)
        for number, times in enumerate(self._times):
            mine = (partition == number) & (first < last)
            picked[mine] = times[place[mine]]
        return picked


def partitions_of(
    user_hashes: np.ndarray, event_time_ms: np.ndarray, roaming: float, rules: Rules, rng: np.random.Generator
) -> np.ndarray:
    """The partition (n,) of each event: its user's, another for the roaming ones, the next that still sends for the silent."""
    partition = (user_hashes % np.uint64(rules.partitions)).astype(np.int64)
    roams = rng.random(len(partition)) < roaming
    partition = np.where(roams, _others(partition, rules, rng), partition)
    while (silent := event_time_ms >= rules.silent_from_ms[partition]).any():
        partition[silent] = (partition[silent] + 1) % rules.partitions
    return partition


def move(
    sent: Placed, out_of_order: np.ndarray, late: np.ndarray, carriers: Carriers, rules: Rules, rng: np.random.Generator
) -> Placed:
    """Move events (n,) bool behind later ones: as far as they are in time, or until they are late; those without room stay."""
    late_from = rules.late_from_ms(sent.event_time_ms)
    low = np.where(late, late_from, sent.event_time_ms + 1)
    high = np.where(late, late_from + _FURTHEST_SLIDES * rules.slide_ms, late_from)
    rows = np.flatnonzero(out_of_order | late)
    picked = carriers.pick(sent.partition[rows], low[rows], high[rows], rng)
    rows, picked = rows[picked != NOWHERE_MS], picked[picked != NOWHERE_MS]
    arrival, rank, outcome = sent.arrival_ms.copy(), sent.rank.copy(), sent.outcome.copy()
    arrival[rows], rank[rows] = picked, 1
    outcome[rows[late[rows]]] = Outcome.LATE
    return replace(sent, arrival_ms=arrival, rank=rank, outcome=outcome)


def copy(sent: Placed, rows: np.ndarray, carriers: Carriers, rules: Rules, rng: np.random.Generator) -> Placed:
    """A further message for each of the used or late events ``rows`` (k,), sent again near it or too late, here or elsewhere.

    Half of those with room for it say that they happened 1 ms later, within the same slide.
    """
    times, arrival, home = sent.event_time_ms[rows], sent.arrival_ms[rows], sent.partition[rows]
    late_from, slide = rules.late_from_ms(times), rules.slide_ms
    kind = rng.integers(0, len(_Copy), len(rows))
    again = sent.outcome[rows] == Outcome.LATE
    kind[again] = np.where(kind[again] % 2, _Copy.BEHIND, _Copy.FAR_BEHIND)
    partition = np.where((kind == _Copy.ELSEWHERE) | (kind == _Copy.LATE_ELSEWHERE), _others(home, rules, rng), home)
    low = np.choose(kind, [arrival, times, np.maximum(arrival, late_from), np.maximum(arrival, late_from + slide), late_from])
    furthest = late_from + _FURTHEST_SLIDES * slide
    high = np.choose(kind, [late_from, late_from, late_from + slide, furthest, furthest])
    picked = carriers.pick(partition, low, high, rng)
    # Without room elsewhere it follows its event at once.
    partition, picked = np.where(picked == NOWHERE_MS, home, partition), np.where(picked == NOWHERE_MS, arrival, picked)
    known = (partition == home) & (picked - late_from < slide)
    outcome = np.where(picked < late_from, Outcome.DUPLICATE, np.where(known, Outcome.LATE_DUPLICATE, Outcome.LATE))
    moved = (rng.random(len(rows)) < 0.5) & (picked > times) & ((times + 1) // slide == times // slide)
    return Placed(rows, times + moved, partition, picked, np.full(len(rows), 2, np.uint8), outcome.astype(np.uint8))


def _others(partition: np.ndarray, rules: Rules, rng: np.random.Generator) -> np.ndarray:
    """Another partition for each (n,); the same where there is only one."""
    if rules.partitions == 1:
        return partition
    others: np.ndarray = (partition + 1 + rng.integers(0, rules.partitions - 1, len(partition))) % rules.partitions
    return others
