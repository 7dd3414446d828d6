"""How far reading and summing have come: what must be known to go on behind a slide as if nothing had happened."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from dynmm_core.windows.clock import NEVER_MS


@dataclass(frozen=True)
class PartitionTally:
    """Events of one partition since the run began; an undecodable message counts 1. ``duplicate``: only those late, too."""

    partition: int
    read: int = 0
    late: int = 0
    duplicate: int = 0
    dead: int = 0


@dataclass(frozen=True)
class ReadPoint:
    """A place in one partition from which reading can go on: next offset, the clock there, and the tally up to there.

    ``newest_ms``: newest event time before it; ``floor_ms``: the clock that idle cuts have set before it. From
    ``memory_offset`` on, messages before ``offset`` are read again to know late duplicates, and counted no more.
    """

    offset: int
    memory_offset: int
    newest_ms: int
    floor_ms: int
    tally: PartitionTally

    def to_json(self) -> list[int]:
        """The point as integers, without its partition."""
        tally = self.tally
        place = [self.offset, self.memory_offset, self.newest_ms, self.floor_ms]
        return [*place, tally.read, tally.late, tally.duplicate, tally.dead]

    @classmethod
    def from_json(cls, partition: int, numbers: list[int]) -> "ReadPoint":
        """Read what :meth:`to_json` wrote."""
        offset, memory_offset, newest_ms, floor_ms, *tally = numbers
        return cls(offset, memory_offset, newest_ms, floor_ms, PartitionTally(partition, *tally))


def start_point(partition: int, offset: int, floor_ms: int = NEVER_MS) -> ReadPoint:
    """The point at which a partition is begun."""
    return ReadPoint(offset, offset, NEVER_MS, floor_ms, PartitionTally(partition))


@dataclass(frozen=True)
class IdleCut:
    """From ``offset`` on the partition's clock stands at ``closed_through_ms`` at least, whatever it has read.

    Once recorded with a slide it holds for ever: a resumed run meets it at the same offset. ``DRAINED_MS`` ends the partition.
    """

    partition: int
    offset: int
    closed_through_ms: int


@dataclass(frozen=True)
class ShardProgress:
    """One bucket behind one of its slides: totals since the run began, state carried on, where each partition is read on.

    ``tails`` is the hash of the users' newest items, None where pairs are not counted. ``told`` are cuts that an earlier start
    recorded behind this slide: this one is still to meet them. Only ``pending`` and ``told`` depend on timing.
    """

    used: int = 0
    duplicates: int = 0
    pending: int = 0
    tails: str | None = None
    points: dict[int, ReadPoint] = field(default_factory=dict)
    cuts: tuple[IdleCut, ...] = ()
    told: tuple[IdleCut, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The progress as one JSON object."""
        document: dict[str, Any] = {
            "used": self.used,
            "duplicates": self.duplicates,
            "pending": self.pending,
            "tails": self.tails,
            "points": {str(partition): point.to_json() for partition, point in sorted(self.points.items())},
            "cuts": [list(astuple(cut)) for cut in self.cuts],
        }
        return document | {"told": [list(astuple(cut)) for cut in self.told]} if self.told else document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "ShardProgress":
        """Read what :meth:`to_json` wrote."""
        points = {int(name): ReadPoint.from_json(int(name), numbers) for name, numbers in document["points"].items()}
        cuts, told = (tuple(IdleCut(*cut) for cut in document.get(name, ())) for name in ("cuts", "told"))
        return cls(document["used"], document["duplicates"], document["pending"], document["tails"], points, cuts, told)


@dataclass(frozen=True)
class RunProgress:
    """Where a whole run stands behind ``through_ms``: every bucket there, and the places from which everything later is read.

    ``shards`` carry totals and tails; their points and cuts are merged into ``points`` and ``cuts``.
    """

    through_ms: int
    shards: dict[str, ShardProgress]
    points: dict[int, ReadPoint]
    cuts: tuple[IdleCut, ...]

    @classmethod
    def merged(cls, through_ms: int, shards: Mapping[str, ShardProgress]) -> "RunProgress":
        """The progress behind ``through_ms`` of buckets that each stand at or before it."""
        points: dict[int, ReadPoint] = {}
        for progress in shards.values():
            for partition, point in progress.points.items():
                if partition not in points or point.offset > points[partition].offset:
                    points[partition] = point
        plain = {shard: replace(progress, points={}, cuts=(), told=()) for shard, progress in sorted(shards.items())}
        return cls(through_ms, plain, points, newest_cuts((cut for one in shards.values() for cut in one.cuts), points))

    def to_json(self) -> dict[str, Any]:
        """The progress as one JSON object."""
        places = ShardProgress(points=self.points, cuts=self.cuts).to_json()
        shards = {name: [one.used, one.duplicates, one.pending, one.tails] for name, one in self.shards.items()}
        return {"through_ms": self.through_ms, "shards": shards, "points": places["points"], "cuts": places["cuts"]}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "RunProgress":
        """Read what :meth:`to_json` wrote."""
        nothing = {"used": 0, "duplicates": 0, "pending": 0, "tails": None}
        places = ShardProgress.from_json({**nothing, "points": document["points"], "cuts": document["cuts"]})
        shards = {name: ShardProgress(*totals) for name, totals in document["shards"].items()}
        return cls(document["through_ms"], shards, places.points, places.cuts)


def newest_cuts(cuts: Iterable[IdleCut], points: Mapping[int, ReadPoint]) -> tuple[IdleCut, ...]:
    """The cuts that reading on from ``points`` will meet: one for each place, the furthest."""
    furthest: dict[tuple[int, int], int] = {}
    for cut in cuts:
        if cut.partition not in points or cut.offset >= points[cut.partition].offset:
            place = (cut.partition, cut.offset)
            furthest[place] = max(furthest.get(place, NEVER_MS), cut.closed_through_ms)
    return tuple(IdleCut(*place, through) for place, through in sorted(furthest.items()))


class ReadPoints:
    """Remembers, for one partition, from which point everything behind a slide can be read again.

    A late event is compared with what came up to a slide before the clock that it met; so the messages of that slide must be
    known again to a reader that begins at a point, whose clock may be far behind the slide that is asked for.
    """

    def __init__(self, start_offset: int, slide_ms: int, allowed_lateness_ms: int) -> None:
        self._slide_ms, self._allowed_lateness_ms = slide_ms, allowed_lateness_ms
        self._memory_offset = start_offset
        self._points: deque[tuple[int, ReadPoint]] = deque()  # (end of the newest slide that begins behind the point, point)

    def passed(self, point: ReadPoint, newest_ms: int) -> None:
        """Events behind ``point`` have moved the newest event time to ``newest_ms``."""
        end_ms = (newest_ms // self._slide_ms + 1) * self._slide_ms
        if not self._points or end_ms > self._points[-1][0]:
            self._points.append((end_ms, point))

    def behind(self, closed_through_ms: int, now: ReadPoint) -> ReadPoint:
        """The point for ``closed_through_ms``; ``now`` is the one reached. Asked with rising times only."""
        point = next((point for end_ms, point in self._points if end_ms > closed_through_ms), now)
        remembered_ms = max(point.newest_ms - self._allowed_lateness_ms, point.floor_ms) - self._slide_ms
        while self._points and self._points[0][0] <= remembered_ms:
            self._points.popleft()
            self._memory_offset = self._points[0][1].offset if self._points else now.offset
        return replace(point, memory_offset=min(self._memory_offset, point.offset))
