"""The intake of one partition: every event that is read goes on, or is dead, late or a late duplicate, and is counted once."""

from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from dynmm_core.events.letters import BadEvent, Decoded
from dynmm_core.windows.clock import NEVER_MS, PartitionClock
from dynmm_core.windows.seen import RecentIds


@dataclass(frozen=True)
class LateEvent:
    """An event whose slide had closed when it was read: its columns as JSON, its place, and by how much it missed."""

    event: bytes
    topic: str
    partition: int
    offset: int
    late_by_ms: int


@dataclass(frozen=True)
class PartitionTally:
    """Events of one partition since its start; an undecodable message counts 1. ``duplicate``: only those that were late too."""

    partition: int
    read: int
    late: int
    duplicate: int
    dead: int


@dataclass(frozen=True)
class Taken:
    """The outcome for a run of messages. ``closed_through_ms`` is None unless the clock passed a slide with them.

    ``kept`` (n,) bool: which of the decoded events are among ``events``; None if all are.
    """

    events: pa.RecordBatch | None
    kept: np.ndarray | None
    late: tuple[LateEvent, ...]
    dead: tuple[BadEvent, ...]
    closed_through_ms: int | None
    tally: PartitionTally


class Intake:
    """Skew check, clock and tally of one partition; a function of this partition's log, however it is cut into calls.

    Events more than ``max_skew_ms`` after their recorded ``ingest_time_ms`` are dead and move no clock; without that column, or
    with None, nothing is checked. A late event that was read before is a duplicate while it is late by less than a slide,
    after that late: what a partition must remember stays bounded.
    """

    def __init__(self, topic: str, partition: int, slide_ms: int, allowed_lateness_ms: int, max_skew_ms: int | None) -> None:
        self._topic, self._partition = topic, partition
        self._allowed_lateness_ms, self._max_skew_ms = allowed_lateness_ms, max_skew_ms
        self._slide_ms = slide_ms
        self._clock = PartitionClock(slide_ms, allowed_lateness_ms)
        self._seen = RecentIds(slide_ms)
        self._read = self._late = self._duplicate = self._dead = 0

    def take(self, decoded: Decoded) -> Taken:
        """Take in the next run of messages of this partition."""
        events, dead = decoded.events, decoded.bad
        self._read += events.num_rows + len(dead)
        skew_ms = self._skew(events)
        kept: np.ndarray | None = None
        if skew_ms is not None:
            kept = skew_ms <= (self._max_skew_ms or 0)
            dead = (*dead, *self._skewed_letters(decoded, skew_ms, ~kept))
            events = events.filter(pa.array(kept))
        self._dead += len(dead)
        if not events.num_rows:
            return Taken(None, kept, (), dead, None, self._tally())
        offsets = decoded.offsets if kept is None else decoded.offsets[kept]
        newest_before = self._clock.newest_ms
        times = events.column("event_time_ms").to_numpy()
        reading = self._clock.read(times)
        late_by_ms = self._late_by(times, newest_before) if reading.late.any() else np.zeros(len(times), np.int64)
        repeated = self._seen.repeated(events, reading.late & (late_by_ms < self._slide_ms))
        self._seen.forget(reading.closed_through_ms - self._slide_ms)
        letters: tuple[LateEvent, ...] = ()
        if reading.late.any():
            letters = self._late_letters(events, offsets, reading.late & ~repeated, late_by_ms)
            self._late += len(letters)
            self._duplicate += int(repeated.sum())
            in_time = ~reading.late
            events = events.filter(pa.array(in_time))
            if kept is None:
                kept = in_time
            else:
                kept[kept] = in_time
        through = reading.closed_through_ms if reading.passed else None
        return Taken(events if events.num_rows else None, kept, letters, dead, through, self._tally())

    def drain(self) -> Taken:
        """The last item of a partition that ends: closes every slide for it."""
        return Taken(None, None, (), (), self._clock.drain().closed_through_ms, self._tally())

    def _tally(self) -> PartitionTally:
        return PartitionTally(self._partition, self._read, self._late, self._duplicate, self._dead)

    def _skew(self, events: pa.RecordBatch) -> np.ndarray | None:
        """Event time minus ingest time (n,) where some exceeds the bound; None where all is well or unknown."""
        if self._max_skew_ms is None or "ingest_time_ms" not in events.schema.names:
            return None
        times = events.column("event_time_ms").to_numpy()
        ingested = events.column("ingest_time_ms").fill_null(-NEVER_MS).to_numpy()
        skew_ms: np.ndarray = times - ingested
        return skew_ms if (skew_ms > self._max_skew_ms).any() else None

    def _skewed_letters(self, decoded: Decoded, skew_ms: np.ndarray, skewed: np.ndarray) -> tuple[BadEvent, ...]:
        rows = decoded.events.filter(pa.array(skewed)).to_pylist()
        return tuple(
            BadEvent(f"event_time_ms: {skew} ms after ingest_time_ms", _as_json(row), self._topic, self._partition, int(offset))
            for row, skew, offset in zip(rows, skew_ms[skewed], decoded.offsets[skewed], strict=True)
        )  # fmt: skip

    def _late_by(self, times: np.ndarray, newest_before: int) -> np.ndarray:
        """How far behind the clock the slide of each event ended (n,), in ms; negative for events in time."""
        newest = np.maximum.accumulate(np.concatenate(([newest_before], times[:-1])))
        slide_end_ms = (times // self._slide_ms + 1) * self._slide_ms
        late_by_ms: np.ndarray = newest - self._allowed_lateness_ms - slide_end_ms
        return late_by_ms

    def _late_letters(
        self, events: pa.RecordBatch, offsets: np.ndarray, late: np.ndarray, late_by_ms: np.ndarray
    ) -> tuple[LateEvent, ...]:
        rows = events.filter(pa.array(late)).to_pylist()
        return tuple(
            LateEvent(_as_json(row), self._topic, self._partition, int(offset), int(missed))
            for row, offset, missed in zip(rows, offsets[late], late_by_ms[late], strict=True)
        )


def _as_json(row: dict[str, object]) -> bytes:
    return orjson.dumps(row, default=str)
