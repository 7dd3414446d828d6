"""Messages from which no event can be read."""

from typing import Any

import orjson

from dynmm_core.events.schema import MAX_TIME_MS

_MEBIBYTE = 1_048_576
# Its id alone is longer than any message may be. All oversized messages are this one: they lie in memory once.
OVERSIZED = orjson.dumps({"event_time_ms": 1, "event_id": "oversized", "user_id": "oversized", "item_id": "x" * _MEBIBYTE})

BREAKS = (
    "no_json", "cut_json", "array", "missing_field", "null_id", "empty_id", "id_of_no_kind", "float_time", "negative_time",
    "huge_time", "text_time", "invalid_utf8", "empty", "cut_arrow",
)  # fmt: skip


def break_message(how: str, event: dict[str, Any], draw: int) -> bytes:
    """Make the event a message that is broken in one of the ``BREAKS``; ``draw``, 0 or more, chooses among its variants."""
    whole = _dump(event)
    required = ("user_id", "item_id", "event_time_ms")[draw % 3]
    some_id = required if required != "event_time_ms" else "user_id"
    time = event["event_time_ms"]
    match how:
        case "no_json":
            return b"GET /interactions?user=" + str(event["user_id"]).encode()
        case "cut_json":
            return whole[: 1 + draw % (len(whole) - 1)]
        case "array":
            return b"[" + whole + b"]"
        case "missing_field":
            return _dump({name: value for name, value in event.items() if name != required})
        case "null_id":
            return _dump({**event, some_id: None})
        case "empty_id":
            return _dump({**event, some_id: ""})
        case "id_of_no_kind":
            return _dump({**event, some_id: (True, 1.5, [], {"id": 1})[draw % 4]})
        case "float_time":
            return _dump({**event, "event_time_ms": (time + 0.5, float(time))[draw % 2]})
        case "negative_time":
            return _dump({**event, "event_time_ms": -1 - draw % 1_000_000})
        case "huge_time":
            return _dump({**event, "event_time_ms": (MAX_TIME_MS + 1, (1 << 63) - 1, 1 << 63)[draw % 3]})
        case "text_time":
            return _dump({**event, "event_time_ms": str(time)})
        case "invalid_utf8":
            return _dump({**event, some_id: "?"}).replace(b'"?"', (b'"\xff\xfe"', b'"\xc3("', b'"\xed\xa0\x80"')[draw % 3])
        case "empty":
            return b""
        case "cut_arrow":
            return b"\xff\xff\xff\xff" + whole[: draw % len(whole)]
    raise ValueError(f"how: {how!r} is none of {', '.join(BREAKS)}")


def without_id(event: dict[str, Any], draw: int) -> bytes:
    """The event with a null for its ``event_id``, or without that field."""
    named = {name: value for name, value in event.items() if name != "event_id"}
    return _dump({**named, "event_id": None} if draw % 2 else named)


def _dump(event: dict[str, Any]) -> bytes:
    return orjson.dumps(event, default=str)
