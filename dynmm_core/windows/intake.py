"""The intake of one partition: every event that is read goes on, or is dead, late or a late duplicate, and is counted once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from dynmm_core.events.letters import BadEvent, Decoded
from dynmm_core.windows.clock import DRAINED_MS, NEVER_MS, PartitionClock, Reading
from dynmm_core.windows.hashes import EventHashes
from dynmm_core.windows.progress import IdleCut, PartitionTally, ReadPoint, ReadPoints, start_point
from dynmm_core.windows.seen import RecentIds


@dataclass(frozen=True)
class LateEvent:
    """An event whose slide had closed when it was read: its columns as JSON, its place, and by how much it missed.

    ``row``: which event of its message it is; None where that has no other.
    """

    event: bytes
    topic: str
    partition: int
    offset: int
    late_by_ms: int
    row: int | None = None


@dataclass(frozen=True)
class Taken:
    """The outcome for a run of messages. ``closed_through_ms`` is None unless the clock passed a slide with them.

    ``hashes`` are those of ``events``. Where the clock passed a slide, ``point`` is the place from which everything behind that
    slide can be read again; ``cut`` is the idle cut that moved it.
    """

    events: pa.RecordBatch | None
    hashes: EventHashes | None
    late: tuple[LateEvent, ...]
    dead: tuple[BadEvent, ...]
    closed_through_ms: int | None
    tally: PartitionTally
    point: ReadPoint | None = None
    cut: IdleCut | None = None


class Intake:
    """Skew check, clock and tally of one partition; a function of this partition's log, however it is cut into calls.

    Events more than ``max_skew_ms`` after their recorded ``ingest_time_ms`` are dead and move no clock; without that column, or
    with None, nothing is checked. A late event that was read before is a duplicate while it is late by less than a slide,
    after that late: what a partition must remember stays bounded.

    A resumed partition begins at ``start``; of what it reads again, events of slides that end by ``resumed_through_ms`` are
    counted and not passed on.
    """

    def __init__(
        self, topic: str, partition: int, slide_ms: int, allowed_lateness_ms: int, max_skew_ms: int | None,
        start: ReadPoint | None = None, resumed_through_ms: int = NEVER_MS,
    ) -> None:  # fmt: skip
        self._topic, self._partition = topic, partition
        self._max_skew_ms = max_skew_ms
        self._slide_ms = slide_ms
        start = start or start_point(partition, 0)
        self._clock = PartitionClock(slide_ms, allowed_lateness_ms, start.newest_ms, start.floor_ms)
        self._points = ReadPoints(start.memory_offset, slide_ms, allowed_lateness_ms)
        self._seen = RecentIds(slide_ms)
        self._tally = start.tally
        self._offset = start.offset
        self._resumed_through_ms = resumed_through_ms

    @property
    def tally(self) -> PartitionTally:
        """Events so far, by what became of them."""
        return self._tally

    @property
    def newest_ms(self) -> int:
        """Newest event time so far, ``NEVER_MS`` before the first."""
        return self._clock.newest_ms

    @property
    def closed_through_ms(self) -> int:
        """The end of the newest slide that this partition has closed."""
        return self._clock.closed_through_ms

    def take(
        self, decoded: Decoded, next_offset: int | None = None,
        ingested_ms: np.ndarray | None = None, hashes: EventHashes | None = None,
    ) -> Taken:  # fmt: skip
        """Take in the next run of messages of this partition; ``next_offset`` is the one behind them, if known.

        ``ingested_ms`` (n,) int64: the broker's time of each event, which counts where an event has no ``ingest_time_ms``;
        ``hashes``: those of the events, where they are known already.
        """
        before = self._point()
        if next_offset is not None:
            self._offset = next_offset
        events, dead = decoded.events, decoded.bad
        read = events.num_rows + len(dead)
        hashes = hashes or EventHashes.of(events)
        skew_ms = self._skew(events, ingested_ms)
        if skew_ms is not None:
            sound = skew_ms <= (self._max_skew_ms or 0)
            dead = (*dead, *self._skewed_letters(decoded, skew_ms, ~sound))
            decoded = decoded.only(sound)
            events, hashes = decoded.events, hashes[sound]
        if not events.num_rows:
            self._count(read=read, dead=len(dead))
            return Taken(None, None, (), dead, None, self._tally)
        times = events.column("event_time_ms").to_numpy()
        limits_ms = self._clock.limits_ms(times)
        reading = self._clock.read(times)
        self._points.passed(before, self._clock.newest_ms)
        letters, in_time, duplicates = self._late(decoded, hashes, limits_ms, reading)
        self._count(read=read, dead=len(dead), late=len(letters), duplicate=duplicates)
        if in_time is not None:
            events, hashes = events.filter(pa.array(in_time)), hashes[in_time]
        through = reading.closed_through_ms if reading.passed else None
        point = self._points.behind(through, self._point()) if through is not None else None
        if not events.num_rows:
            return Taken(None, None, letters, dead, through, self._tally, point)
        return Taken(events, hashes, letters, dead, through, self._tally, point)

    def remember(self, decoded: Decoded, ingested_ms: np.ndarray | None = None) -> None:
        """Take in messages before the start point: known to late duplicates, and nothing else."""
        events, skew_ms = decoded.events, self._skew(decoded.events, ingested_ms)
        if skew_ms is not None:
            events = events.filter(pa.array(skew_ms <= (self._max_skew_ms or 0)))
        if events.num_rows:
            times = events.column("event_time_ms").to_numpy()
            self._seen.repeated(times, EventHashes.of(events), np.zeros(events.num_rows, bool))

    def drain(self) -> Taken:
        """The last item of a partition that ends: closes every slide for it."""
        return self.cut(DRAINED_MS)

    def cut(self, closed_through_ms: int, offset: int | None = None) -> Taken:
        """Apply an idle cut at ``offset``, by default the one reached: the clock moves to ``closed_through_ms``."""
        cut = IdleCut(self._partition, self._offset if offset is None else offset, closed_through_ms)
        reading = self._clock.advance_to(closed_through_ms)
        if not reading.passed:
            return Taken(None, None, (), (), None, self._tally, None, cut)
        point = self._points.behind(reading.closed_through_ms, self._point())
        return Taken(None, None, (), (), reading.closed_through_ms, self._tally, point, cut)

    def _point(self) -> ReadPoint:
        return ReadPoint(self._offset, self._offset, self._clock.newest_ms, self._clock.floor_ms, self._tally)

    def _count(self, read: int, dead: int, late: int = 0, duplicate: int = 0) -> None:
        so_far = self._tally
        self._tally = PartitionTally(
            self._partition, so_far.read + read, so_far.late + late, so_far.duplicate + duplicate, so_far.dead + dead
        )

    def _late(
        self, decoded: Decoded, hashes: EventHashes, limits_ms: np.ndarray, reading: Reading
    ) -> tuple[tuple[LateEvent, ...], np.ndarray | None, int]:
        """Letters of late events; which events (n,) go on, None if all; how many of the late ones had come before."""
        times = decoded.events.column("event_time_ms").to_numpy()
        late_by_ms = limits_ms - (times // self._slide_ms + 1) * self._slide_ms
        repeated = self._seen.repeated(times, hashes, reading.late & (late_by_ms < self._slide_ms))
        self._seen.forget(reading.closed_through_ms - self._slide_ms)
        in_time = ~reading.late
        letters: tuple[LateEvent, ...] = ()
        if reading.late.any():
            letters = self._late_letters(decoded, reading.late & ~repeated, late_by_ms)
        if self._resumed_through_ms != NEVER_MS:
            # Read again after a resume, these are in slides that were sent; they were counted with them.
            in_time &= (times // self._slide_ms + 1) * self._slide_ms > self._resumed_through_ms
        return letters, None if in_time.all() else in_time, int(repeated.sum())

    def _skew(self, events: pa.RecordBatch, ingested_ms: np.ndarray | None) -> np.ndarray | None:
        """Event time minus ingest time (n,) where some exceeds the bound; None where all is well or unknown."""
        if self._max_skew_ms is None or not events.num_rows:
            return None
        times = events.column("event_time_ms").to_numpy()
        if "ingest_time_ms" in events.schema.names:
            given = events.column("ingest_time_ms").fill_null(-NEVER_MS).to_numpy()
            ingested_ms = given if ingested_ms is None else np.where(given == -NEVER_MS, ingested_ms, given)
        if ingested_ms is None:
            return None
        skew_ms: np.ndarray = times - ingested_ms
        return skew_ms if (skew_ms > self._max_skew_ms).any() else None

    def _skewed_letters(self, decoded: Decoded, skew_ms: np.ndarray, skewed: np.ndarray) -> tuple[BadEvent, ...]:
        return tuple(
            BadEvent(f"event_time_ms: {skew} ms after ingest_time_ms", event, self._topic, self._partition, offset, row)
            for skew, (event, offset, row) in zip(skew_ms[skewed], _each(decoded, skewed), strict=True)
        )

    def _late_letters(self, decoded: Decoded, late: np.ndarray, late_by_ms: np.ndarray) -> tuple[LateEvent, ...]:
        return tuple(
            LateEvent(event, self._topic, self._partition, offset, int(missed), row)
            for missed, (event, offset, row) in zip(late_by_ms[late], _each(decoded, late), strict=True)
        )


def _each(decoded: Decoded, some: np.ndarray) -> Iterator[tuple[bytes, int, int | None]]:
    """Of ``some`` events (n,) bool each as JSON, with its offset and which of its message's it is."""
    events = decoded.events.filter(pa.array(some)).to_pylist()
    for event, offset, row in zip(events, decoded.offsets[some].tolist(), decoded.rows_of(some), strict=True):
        yield orjson.dumps(event, default=str), offset, row
