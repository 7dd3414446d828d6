"""What makes a JSON object an event: the one set of rules, with the reason for each object that is none."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dynmm_core.events.schema import MAX_ID_BYTES, MAX_TIME_MS
from dynmm_core.events.wire import MAX_FIELDS, MAX_NESTING, VERSION_FIELD, version_reason

IDS = ("event_id", "user_id", "item_id")
ID_TYPES = {str, int}
_NUMBER_TYPES = {float, int, type(None)}

Row = dict[str, Any]


def shape_reason(message: bytes, row: Row) -> str | None:
    """Why no value of this message, read as ``row``, may be looked at, or None: it has too many fields, or nests too deep."""
    if len(row) > MAX_FIELDS:
        return too_many_fields(len(row))
    # Every level has two brackets, so that hardly any message is looked at.
    if len(message) > 2 * MAX_NESTING and message.count(b"[") + message.count(b"{") > MAX_NESTING and _nests_deep(row):
        return f"message: objects and lists nest more than {MAX_NESTING} deep"
    return None


def too_many_fields(count: int) -> str:
    """The reason for a message of so many fields."""
    return f"message: {count} fields are too many; send {MAX_FIELDS} at most"


def _nests_deep(row: Row) -> bool:
    level: list[Any] = [row]
    for _ in range(MAX_NESTING):
        inner = [value for one in level for value in (one.values() if type(one) is dict else one)]
        level = [value for value in inner if type(value) in (dict, list)]
    return bool(level)


def reason_of(row: Row, further: Mapping[str, pa.DataType]) -> str | None:
    """Why this object is no event, or None; ``further`` names the types of fields that the schema does not know."""
    if VERSION_FIELD in row and (reason := version_reason(row[VERSION_FIELD])):
        return reason
    for name in ("event_time_ms", "user_id", "item_id"):
        if row.get(name) is None:
            return f"{name}: missing"
    reason = _time_reason("event_time_ms", row["event_time_ms"])
    for name in IDS:
        reason = reason or _id_reason(name, row.get(name))
    for name in ("rating", "event", "ingest_time_ms"):
        reason = reason or optional_reason(name, row.get(name))
    for name, expected in further.items():
        reason = reason or _further_reason(name, row.get(name), expected)
    return reason


def _time_reason(name: str, value: Any) -> str | None:
    if type(value) is not int:
        return f"{name}: {value!r:.80} is no integer (milliseconds UTC)"
    if not 0 <= value <= MAX_TIME_MS:
        return f"{name}: {value} is not between 0 and {MAX_TIME_MS}"
    return None


def _id_reason(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if type(value) not in ID_TYPES:
        return f"{name}: {value!r:.80} is neither text nor an integer"
    if value == "":
        return f"{name}: empty"
    if type(value) is str and len(value.encode()) > MAX_ID_BYTES:
        return f"{name}: longer than {MAX_ID_BYTES} bytes"
    return None


def optional_reason(name: str, value: Any) -> str | None:
    """Why this is no value of ``rating``, ``event`` or ``ingest_time_ms``, or None."""
    if value is None:
        return None
    if name == "rating":
        return None if type(value) in _NUMBER_TYPES else f"rating: {value!r:.80} is no number"
    if name == "event":
        return None if type(value) is str else f"event: {value!r:.80} is no text"
    return _time_reason(name, value)


def _further_reason(name: str, value: Any, expected: pa.DataType) -> str | None:
    try:
        pa.array([value], type=expected)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError):
        return f"{name}: {value!r:.80} is no {expected}"
    return None
