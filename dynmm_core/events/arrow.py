"""Arrow batches to events: whole columns are cast and checked, no row is looked at unless it is bad."""

from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.events.letters import BadEvent, Decoded, Origin
from dynmm_core.events.schema import COLUMN_TYPES, MAX_ID_BYTES, MAX_TIME_MS, empty_events, ordered_columns


def decode_arrow(message: pa.RecordBatch | bytes, origin: Origin) -> Decoded:
    """Decode one batch, or the bytes of one Arrow IPC stream.

    ``origin`` has one offset per row, or a single one for the whole message: then rows without ``event_id`` are told apart by
    their place in it. Bytes that are no Arrow stream, or a batch without a required column, are one letter; a row with a
    missing id or an impossible time is a letter with the row as JSON.
    """
    raw = message if isinstance(message, bytes) else b""
    try:
        batch = _read_stream(message) if isinstance(message, bytes) else message
        events = _cast(batch, origin)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, OSError) as error:
        reason = str(error).splitlines()[0]
        letter = BadEvent(f"message: {reason}", raw, origin.topic, origin.partition, origin.offsets[0])
        return Decoded(empty_events(), np.zeros(0, np.int64), (letter,))
    offsets = np.asarray(origin.offsets, np.int64)
    if len(offsets) != events.num_rows:
        offsets = np.repeat(offsets[:1], events.num_rows)
    sound = _sound_rows(events)
    if sound.all():
        return Decoded(events, offsets, ())
    bad = np.flatnonzero(~sound)
    letters = tuple(
        BadEvent(_reason(row), orjson.dumps(row, default=str), origin.topic, origin.partition, int(offset))
        for row, offset in zip(events.take(pa.array(bad)).to_pylist(), offsets[bad], strict=True)
    )
    return Decoded(events.filter(pa.array(sound)), offsets[sound], letters)


def _read_stream(message: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(message) as reader:
        table = reader.read_all().combine_chunks()
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _cast(batch: pa.RecordBatch, origin: Origin) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {}
    names = set(batch.schema.names)
    if len(names) != batch.num_columns:
        raise pa.ArrowInvalid("two columns have the same name")
    for name in ("event_time_ms", "user_id", "item_id"):
        if name not in names:
            raise pa.ArrowInvalid(f"{name}: missing; the batch has {', '.join(batch.schema.names)}")
    for name in ordered_columns(names | {"event_id"}):
        column = batch.column(name) if name in names else pa.nulls(batch.num_rows, pa.string())
        if name in COLUMN_TYPES:
            column = _cast_known(name, column)
        columns[name] = _fill_event_ids(column, origin) if name == "event_id" else column
    return pa.RecordBatch.from_pydict(columns)


def _cast_known(name: str, column: pa.Array) -> pa.Array:
    kind = column.type
    if name in ("event_id", "user_id", "item_id", "event"):
        if pa.types.is_dictionary(kind):
            column, kind = column.dictionary_decode(), kind.value_type
        number = pa.types.is_integer(kind) and name != "event"
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or number or pa.types.is_null(kind)):
            raise pa.ArrowInvalid(f"{name}: {kind} is neither text nor an integer")
    elif name == "rating":
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("ms", kind.tz), safe=False)
    elif not (pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise pa.ArrowInvalid(f"{name}: {kind} is neither an integer nor a timestamp")
    return column.cast(COLUMN_TYPES[name])


def _fill_event_ids(ids: pa.Array, origin: Origin) -> pa.Array:
    if not ids.null_count:
        return ids
    if len(origin.offsets) == len(ids):
        given = [origin.event_id(row) for row in range(len(ids))]
    else:
        given = [f"{origin.event_id(0)}/{row}" for row in range(len(ids))]
    return pc.coalesce(ids, pa.array(given, pa.string()))


def _sound_rows(events: pa.RecordBatch) -> np.ndarray:
    sound = np.ones(events.num_rows, bool)
    for name in ("event_id", "user_id", "item_id"):
        lengths = pc.binary_length(events.column(name)).fill_null(0).to_numpy(zero_copy_only=False)
        sound &= (lengths > 0) & (lengths <= MAX_ID_BYTES)
    for name in ("event_time_ms", "ingest_time_ms"):
        if name in events.schema.names:
            column = events.column(name)
            absent = -1 if name == "event_time_ms" else 0
            times = column.fill_null(absent).to_numpy(zero_copy_only=False)
            sound &= (times >= 0) & (times <= MAX_TIME_MS)
    return sound


def _reason(row: dict[str, Any]) -> str:
    for name in ("event_id", "user_id", "item_id"):
        if not row[name]:
            return f"{name}: missing"
        if len(row[name].encode()) > MAX_ID_BYTES:
            return f"{name}: longer than {MAX_ID_BYTES} bytes"
    if row["event_time_ms"] is None:
        return "event_time_ms: missing"
    name = "event_time_ms" if not 0 <= row["event_time_ms"] <= MAX_TIME_MS else "ingest_time_ms"
    return f"{name}: {row[name]} is not between 0 and {MAX_TIME_MS}"
