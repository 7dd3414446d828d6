"""Messages to columns: JSON, one event each, and Arrow batches. What is no event becomes a letter, never an exception.

JSON fields that the schema does not know are kept as text under their own names (a string as it is, anything else as JSON),
unless ``further`` names their type: a column's type must not depend on which messages happen to arrive together.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from dynmm_core.events.letters import BadEvent, Decoded, Origin
from dynmm_core.events.rules import ID_TYPES, IDS, Row, optional_reason, reason_of, shape_reason
from dynmm_core.events.schema import COLUMN_TYPES, MAX_ID_BYTES, MAX_TIME_MS, empty_events, ordered_columns
from dynmm_core.events.wire import VERSION_FIELD, version_reason

MESSAGES_PER_CHUNK = 1000  # object garbage of a larger chunk falls out of the processor's cache
_NO_TYPES: Mapping[str, pa.DataType] = {}


def decode_json(messages: Sequence[bytes], origin: Origin, further: Mapping[str, pa.DataType] = _NO_TYPES) -> Decoded:
    """Decode one JSON object per message; ``origin`` has one offset per message.

    ``event_time_ms``, ``user_id`` and ``item_id`` must be there; a missing ``event_id`` is topic/partition/offset; ids may be
    integers and are kept as text; other fields may be missing or null, NaN counts as null. ``schema_version`` is the wire's, is
    no column, and must be known.
    """
    decoded = [
        _decode_chunk(messages[first : first + MESSAGES_PER_CHUNK], origin, first, further)
        for first in range(0, len(messages), MESSAGES_PER_CHUNK)
    ]
    batches = [part.events for part in decoded if part.events.num_rows]
    return Decoded(
        events=concat_events(batches),
        offsets=np.concatenate([np.zeros(0, np.int64), *(part.offsets for part in decoded)]),
        bad=tuple(letter for part in decoded for letter in part.bad),
    )


def concat_events(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of all rows in canonical column order; a column that a batch lacks is null in its rows."""
    if not batches:
        return empty_events()
    if len(batches) == 1:
        return batches[0]
    if all(batch.schema.equals(batches[0].schema) for batch in batches):
        return pa.concat_batches(batches)
    table = pa.concat_tables([pa.Table.from_batches([batch]) for batch in batches], promote_options="default")
    table = table.select(ordered_columns(table.column_names))
    return table.combine_chunks().to_batches()[0] if table.num_rows else empty_events()


def _decode_chunk(messages: Sequence[bytes], origin: Origin, first: int, further: Mapping[str, pa.DataType]) -> Decoded:
    rows, places, reasons = _parse(messages)
    events = _columns_at_once(rows, places, origin, first, further) if rows else empty_events()
    if events is None:
        kept: list[int] = []
        for index, row in enumerate(rows):
            reason = reason_of(row, further)
            if reason is None:
                kept.append(index)
            else:
                reasons[places[index]] = reason
        rows, places = [rows[index] for index in kept], [places[index] for index in kept]
        events = _columns(rows, places, origin, first, further) if rows else empty_events()
    offsets = np.fromiter((origin.offsets[first + place] for place in places), np.int64, len(places))
    bad = (
        BadEvent(
            reason,
            bytes(messages[place] or b""),
            origin.topic,
            origin.partition,
            origin.offsets[first + place],
        )
        for place, reason in sorted(reasons.items())
    )
    return Decoded(events, offsets, tuple(bad))


def _parse(messages: Sequence[bytes]) -> tuple[list[Row], list[int], dict[int, str]]:
    """The JSON objects with their places in the chunk, and for every other place the reason."""
    try:
        rows = [orjson.loads(message) for message in messages]
        if set(map(type, rows)) <= {dict} and not any(map(shape_reason, messages, rows)):
            return rows, list(range(len(rows))), {}
    except orjson.JSONDecodeError:
        pass
    rows, places, reasons = [], [], {}
    for place, message in enumerate(messages):
        try:
            row = orjson.loads(message)
        except orjson.JSONDecodeError as error:
            reasons[place] = f"message: no JSON ({error})"
            continue
        if not isinstance(row, dict):
            reasons[place] = f"message: {type(row).__name__} is no JSON object"
        elif (reason := shape_reason(message, row)) is not None:
            reasons[place] = reason
        else:
            rows.append(row)
            places.append(place)
    return rows, places, reasons


def _columns_at_once(
    rows: list[Row], places: list[int], origin: Origin, first: int, further: Mapping[str, pa.DataType]
) -> pa.RecordBatch | None:
    """The columns if every row is in order, judged column by column; None if some row has to be looked at alone."""
    try:
        times = [row["event_time_ms"] for row in rows]
        if set(map(type, times)) != {int} or min(times) < 0 or max(times) > MAX_TIME_MS:
            return None
        for name in ("user_id", "item_id"):
            if not _sound_ids([row[name] for row in rows]):
                return None
    except KeyError:
        return None
    if not _sound_ids([given for row in rows if (given := row.get("event_id")) is not None]):
        return None
    names = set().union(*rows)
    if VERSION_FIELD in names and any(version_reason(row[VERSION_FIELD]) for row in rows if VERSION_FIELD in row):
        return None
    for name in ("rating", "event", "ingest_time_ms"):
        if name in names and any(optional_reason(name, row.get(name)) for row in rows):
            return None
    try:
        return _columns(rows, places, origin, first, further)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError):
        return None  # a further column whose values do not fit the type named for it


def _sound_ids(ids: list[Any]) -> bool:
    return set(map(type, ids)) <= ID_TYPES and all(type(value) is int or 0 < len(value) <= MAX_ID_BYTES // 4 for value in ids)


def _columns(
    rows: list[Row], places: list[int], origin: Origin, first: int, further: Mapping[str, pa.DataType]
) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {}
    for name in ordered_columns({*IDS, *set().union(*rows)} - {VERSION_FIELD}):
        values = [row.get(name) for row in rows]
        if name == "event_id":
            values = [
                origin.event_id(first + place) if value is None else str(value)
                for value, place in zip(values, places, strict=True)
            ]
        elif name in IDS:
            values = [value if type(value) is str else str(value) for value in values]
        elif name == "rating":
            values = [None if value is None or math.isnan(value) else float(value) for value in values]
        elif name not in COLUMN_TYPES and name not in further:
            values = [_as_text(value) for value in values]
        columns[name] = pa.array(values, type=COLUMN_TYPES.get(name) or further.get(name) or pa.string())
    return pa.RecordBatch.from_pydict(columns)


def _as_text(value: Any) -> str | None:
    return value if value is None or type(value) is str else orjson.dumps(value).decode()
