"""Arrow batches to events: whole columns are cast and checked, no row is looked at unless it is bad."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.events.arrow_stream import UNREADABLE, check_version, read_stream
from dynmm_core.events.letters import BadEvent, Decoded, Origin
from dynmm_core.events.schema import COLUMN_TYPES, MAX_ID_BYTES, MAX_TIME_MS, empty_events, ordered_columns

_IDS = ("event_id", "user_id", "item_id")


def decode_arrow(message: pa.RecordBatch | bytes, origin: Origin) -> Decoded:
    """Decode one batch, or the bytes of one Arrow IPC stream.

    ``origin`` has one offset per row, or a single one for the whole message: then rows without ``event_id`` are told apart by
    their place in it. Bytes that are no whole Arrow stream, a version that is not known, or a batch without a required column
    are one letter; a row with a missing id or an impossible time is a letter with the row as JSON.
    """
    try:
        if isinstance(message, bytes):
            table = read_stream(message)
            table.validate(full=True)
        else:
            table = pa.Table.from_batches([message])
        check_version(table.schema)
        return decode_tables([table], origin)
    except UNREADABLE as error:
        return unreadable(error, message if isinstance(message, bytes) else b"", origin)


def unreadable(error: Exception, raw: bytes, origin: Origin) -> Decoded:
    """The one letter of a message that cannot be read, with what went wrong."""
    letter = BadEvent(_told(error), raw, origin.topic, origin.partition, origin.offsets[0])
    return Decoded(empty_events(), np.zeros(0, np.int64), (letter,))


def decode_tables(tables: Sequence[pa.Table], origin: Origin) -> Decoded:
    """Decode sound messages of one schema; ``origin`` has one offset for each of them, or one for each row of the only one.

    Raises:
        pyarrow.ArrowInvalid, or another of ``UNREADABLE``: the columns are not those of events.
    """
    columns = _cast(pa.concat_tables(tables))
    offsets = np.asarray(origin.offsets, np.int64)
    by_message = len(tables) > 1 or len(offsets) != tables[0].num_rows
    rows = None
    if by_message:
        counts = np.array([table.num_rows for table in tables])
        offsets, rows = np.repeat(offsets, counts), _places(counts)
    columns["event_id"] = _fill_event_ids(columns["event_id"], origin, offsets, rows)
    decoded = Decoded(pa.RecordBatch.from_pydict(columns), offsets, (), rows)
    sound = _sound_rows(decoded.events)
    return decoded if sound.all() else _without(decoded, ~sound, origin)


def _places(counts: np.ndarray) -> np.ndarray:
    """Which of its message's events each (n,) int64 is, -1 where that has no other; messages (m,) with so many events each."""
    places: np.ndarray = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places[np.repeat(counts == 1, counts)] = -1
    return places


def _without(decoded: Decoded, bad: np.ndarray, origin: Origin) -> Decoded:
    """The events but for the ``bad`` ones (n,) bool, which become letters."""
    found = zip(decoded.events.filter(pa.array(bad)).to_pylist(), decoded.offsets[bad], decoded.rows_of(bad), strict=True)
    letters = tuple(
        BadEvent(_reason(event), orjson.dumps(event, default=str), origin.topic, origin.partition, int(offset), row)
        for event, offset, row in found
    )
    return replace(decoded.only(~bad), bad=letters)


def _told(error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return reason if reason.startswith(("schema_version: ", "message: ")) else f"message: {reason}"


def _cast(table: pa.Table) -> dict[str, pa.Array]:
    """The columns of events in canonical order, each in one piece."""
    names = set(table.column_names)
    if len(names) != table.num_columns:
        raise pa.ArrowInvalid("two columns have the same name")
    for name in ("event_time_ms", "user_id", "item_id"):
        if name not in names:
            raise pa.ArrowInvalid(f"{name}: missing; the batch has {', '.join(table.column_names)}")
    columns: dict[str, pa.Array] = {}
    for name in ordered_columns(names | {"event_id"}):
        column = table.column(name) if name in names else pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
        columns[name] = _in_one_piece(_cast_known(name, column) if name in COLUMN_TYPES else column)
    return columns


def _in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        raise pa.ArrowInvalid("the text of one column is longer than 2 GiB")
    return whole


def _cast_known(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if kind == COLUMN_TYPES[name] and name != "rating":
        return column
    if name in ("event_id", "user_id", "item_id", "event"):
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
            column = column.cast(kind)
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


def _fill_event_ids(ids: pa.Array, origin: Origin, offsets: np.ndarray, rows: np.ndarray | None) -> pa.Array:
    """The ids, and where there is none the event's ``offsets`` (n,), with which of its message's it is, ``rows`` (n,)."""
    if not ids.null_count:
        return ids
    given = pc.binary_join_element_wise(f"{origin.topic}/{origin.partition}", pa.array(offsets).cast(pa.string()), "/")
    if rows is not None:
        numbered = pc.binary_join_element_wise(given, pa.array(rows).cast(pa.string()), "/")
        given = pc.if_else(pa.array(rows < 0), given, numbered)
    return pc.coalesce(ids, given)


def _sound_rows(events: pa.RecordBatch) -> np.ndarray:
    sound = np.ones(events.num_rows, bool)
    for name in _IDS:
        sound = _within(pc.binary_length(events.column(name)), 0, 1, MAX_ID_BYTES, sound)
    for name, absent in (("event_time_ms", -1), ("ingest_time_ms", 0)):
        if name in events.schema.names:
            sound = _within(events.column(name), absent, 0, MAX_TIME_MS, sound)
    return sound


def _within(column: pa.Array, absent: int, least: int, most: int, sound: np.ndarray) -> np.ndarray:
    """Those of the ``sound`` rows (n,) whose number lies in these bounds; a null counts as ``absent``."""
    numbers = (column.fill_null(absent) if column.null_count else column).to_numpy(zero_copy_only=False)
    if numbers.min(initial=most) >= least and numbers.max(initial=least) <= most:
        return sound
    within: np.ndarray = sound & (numbers >= least) & (numbers <= most)
    return within


def _reason(row: dict[str, Any]) -> str:
    for name in _IDS:
        if not row[name]:
            return f"{name}: missing"
        if len(row[name].encode()) > MAX_ID_BYTES:
            return f"{name}: longer than {MAX_ID_BYTES} bytes"
    if row["event_time_ms"] is None:
        return "event_time_ms: missing"
    name = "event_time_ms" if not 0 <= row["event_time_ms"] <= MAX_TIME_MS else "ingest_time_ms"
    return f"{name}: {row[name]} is not between 0 and {MAX_TIME_MS}"
