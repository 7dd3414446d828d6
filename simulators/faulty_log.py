"""A faulty log, message by message, and what a reader must make of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dynmm_core.windows.order import sort_canonically
from dynmm_core.windows.progress import PartitionTally
from simulators.placement import Outcome

USED_COLUMNS = ("event_time_ms", "event_id", "user_id", "item_id")


class Message(NamedTuple):
    """What is sent: the bytes, and the moment it is sent as Kafka's CreateTime (ms)."""

    value: bytes
    timestamp_ms: int


@dataclass(frozen=True)
class ExpectedCounts:
    """What a reader that closes every slide must count; ``read`` = used + late + duplicate + dead.

    ``late_duplicate`` of the duplicates are known where they are read. ``malformed``, ``future`` and ``oversized`` make up
    ``dead``; ``out_of_order`` and ``without_event_id`` are used; ``away`` came by another partition than their user's.
    """

    read: int
    used: int
    late: int
    duplicate: int
    dead: int
    late_duplicate: int
    malformed: int
    future: int
    oversized: int
    out_of_order: int
    without_event_id: int
    away: int
    slides: int


@dataclass(frozen=True)
class FaultyLog:
    """For each partition its messages in the order to be sent, and for each message its ``Outcome`` and source row (n,).

    ``outcomes`` of copies that are in time say duplicate; which of equal events stays in the slide makes no difference.
    ``nameless`` (rows,) bool: which of the source ``events`` are sent without their id.
    """

    messages: tuple[tuple[Message, ...], ...]
    outcomes: tuple[np.ndarray, ...]
    rows: tuple[np.ndarray, ...]
    events: pa.Table
    nameless: np.ndarray
    expected: ExpectedCounts

    def in_time_order(self) -> Iterator[tuple[int, Message]]:
        """Partition and message of all partitions as they come, each partition's order kept."""
        stamps = np.array([message.timestamp_ms for log in self.messages for message in log], np.int64)
        partitions = np.repeat(np.arange(len(self.messages)), [len(log) for log in self.messages])
        logs = [iter(log) for log in self.messages]
        for partition in partitions[np.argsort(stamps, kind="stable")].tolist():
            yield partition, next(logs[partition])

    def used(self, topic: str) -> pa.Table:
        """Exactly the events of all slides in canonical order: event_time_ms, event_id, user_id, item_id.

        Events sent without an id are called topic/partition/offset, with offsets from 0.
        """
        tables = [self.events.select(USED_COLUMNS).slice(0, 0)]
        for partition, (outcomes, rows) in enumerate(zip(self.outcomes, self.rows, strict=True)):
            offsets = np.flatnonzero(outcomes == Outcome.USED)
            table = self.events.select(USED_COLUMNS).take(pa.array(rows[offsets]))
            ids = table["event_id"].to_pylist()
            for place in np.flatnonzero(self.nameless[rows[offsets]]):
                ids[place] = f"{topic}/{partition}/{offsets[place]}"
            tables.append(table.set_column(1, "event_id", pa.array(ids, pa.string())))
        return sort_canonically(pa.concat_tables(tables).combine_chunks())

    def offsets(self, outcome: Outcome) -> list[tuple[int, int]]:
        """Partition and offset of every message with this outcome."""
        return [
            (partition, int(offset))
            for partition, outcomes in enumerate(self.outcomes)
            for offset in np.flatnonzero(outcomes == outcome)
        ]

    def tallies(self) -> tuple[PartitionTally, ...]:
        """What the reader of each partition must have counted at its end."""
        counts = [np.bincount(outcomes, minlength=len(Outcome)).tolist() for outcomes in self.outcomes]
        return tuple(
            PartitionTally(partition, sum(count), count[Outcome.LATE], count[Outcome.LATE_DUPLICATE], count[Outcome.DEAD])
            for partition, count in enumerate(counts)
        )
