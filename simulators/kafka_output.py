"""Logs as topics: a prepared log or a table, each event in its user's partition; or a faulty log, message by message."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Producer

from dynmm_core.console import progress
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.events.encode import encode_arrow, encode_json
from dynmm_core.events.hashing import hash64
from simulators.faulty_log import FaultyLog
from simulators.sender import Sender, Sent, count_partitions, open_producer

Format = Literal["json", "arrow"]
_READ_ROWS = 65_536
_NO_PROPERTIES: Mapping[str, str] = {}


@dataclass(frozen=True)
class _Piece:
    """Messages in the order of ``due_ms`` (n,), and how many events are in them."""

    values: list[bytes]
    partitions: list[int]
    timestamps_ms: list[int]
    due_ms: np.ndarray
    events: int


def produce_log(
    log: PreparedLog | pa.Table,
    bootstrap: str,
    topic: str,
    *,
    format: Format = "json",
    batch: int = 1_000,
    speed: float | None = None,
    properties: Mapping[str, str] = _NO_PROPERTIES,
    start_row: int = 0,
    end_row: int | None = None,
) -> Sent:
    """Send rows ``start_row`` to ``end_row`` of a log in time order, by the user's hash modulo the topic's partitions.

    "json" has an event per message, "arrow" up to ``batch`` events of one partition. A message's timestamp is the newest
    ``ingest_time_ms`` in it, or event time where the log has none. Returns when every message is acknowledged. ``speed``:
    seconds of the log per second on the wall, None as fast as possible; ``properties``: librdkafka's own.

    Raises:
        UserError: no such broker or topic, or a message could not be delivered.
    """
    begun = time.monotonic()
    producer = open_producer(bootstrap, properties)
    partitions = count_partitions(producer, topic)
    end_row = (log.rows if isinstance(log, PreparedLog) else log.num_rows) if end_row is None else end_row
    # Enough rows for several messages of each partition, so that nearly all of them are full.
    rows = _READ_ROWS if format == "json" else 8 * batch * partitions
    messages = 0
    with progress(f"to {topic}", end_row - start_row) as bar:
        sender = Sender(producer, topic, speed, bar)
        for events in _batches(log, start_row, end_row, rows):
            piece = _json_piece(events, partitions) if format == "json" else _arrow_piece(events, partitions, batch)
            sender.send(piece.values, piece.partitions, piece.timestamps_ms, piece.due_ms, piece.events)
            messages += len(piece.values)
        sender.flush()
    return Sent(messages, end_row - start_row, time.monotonic() - begun)


def produce_messages(producer: Producer, topic: str, faulty_log: FaultyLog, speed: float | None = None) -> Sent:
    """Send a faulty log as it is, partitions interleaved by the messages' timestamps; returns when all are acknowledged.

    Raises:
        UserError: the topic has another number of partitions, or a message could not be delivered.
    """
    begun = time.monotonic()
    found, expected = count_partitions(producer, topic), len(faulty_log.messages)
    if found != expected:
        raise UserError(f"--topic: {topic} has {found} partitions, the faulty log {expected}; make them equal")
    total = faulty_log.expected.read
    with progress(f"to {topic}", total) as bar:
        sender = Sender(producer, topic, speed, bar)
        entries = faulty_log.in_time_order()
        while run := list(islice(entries, _READ_ROWS)):
            values = [message.value for _, message in run]
            stamps = [message.timestamp_ms for _, message in run]
            sender.send(values, [partition for partition, _ in run], stamps, np.array(stamps), len(run))
        sender.flush()
    return Sent(total, total, time.monotonic() - begun)


def _batches(log: PreparedLog | pa.Table, start: int, end: int, rows: int) -> Iterator[pa.RecordBatch]:
    for first in range(start, end, rows):
        last = min(first + rows, end)
        table = log.read(None, first, last) if isinstance(log, PreparedLog) else log.slice(first, last - first)
        yield table.replace_schema_metadata(None).combine_chunks().to_batches()[0]


def _json_piece(events: pa.RecordBatch, partitions: int) -> _Piece:
    times = events.column("event_time_ms").to_numpy()
    chosen = _partitions_of(events, partitions).tolist()
    return _Piece(encode_json(events), chosen, _ingested_ms(events).tolist(), times, len(times))


def _arrow_piece(events: pa.RecordBatch, partitions: int, batch: int) -> _Piece:
    """A message for each partition's events, or several of at most ``batch``, in the order of their newest events."""
    chosen = _partitions_of(events, partitions)
    times, ingested = events.column("event_time_ms").to_numpy(), _ingested_ms(events)
    shares = [np.flatnonzero(chosen == partition) for partition in range(partitions)]
    rows = [part for share in shares if len(share) for part in np.array_split(share, -(-len(share) // batch))]
    rows.sort(key=lambda part: int(part[-1]))
    return _Piece(
        [encode_arrow(events.take(pa.array(part))) for part in rows],
        [int(chosen[part[0]]) for part in rows],
        [int(ingested[part].max()) for part in rows],
        np.array([times[part[-1]] for part in rows]),
        events.num_rows,
    )


def _partitions_of(events: pa.RecordBatch, partitions: int) -> np.ndarray:
    """The partition (n,) of each event."""
    return (hash64(events.column("user_id")) % np.uint64(partitions)).astype(np.int64)


def _ingested_ms(events: pa.RecordBatch) -> np.ndarray:
    """When each event (n,) was taken in, as far as is known."""
    times = events.column("event_time_ms")
    if "ingest_time_ms" in events.schema.names:
        times = pc.coalesce(events.column("ingest_time_ms"), times)
    ingested: np.ndarray = times.to_numpy()
    return ingested
