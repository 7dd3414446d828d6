"""Durations and moments as people write them, turned into milliseconds."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = r"\d+(?:ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART})+")
# Below this, milliseconds since the epoch would lie before March 1973: seconds, most likely.
_SMALLEST_MS = 100_000_000_000
_LARGEST_MS = 253_402_300_799_999


def parse_duration_ms(value: Any) -> int:
    """Return a duration in ms.

    Args:
        value: text such as ``15m``, ``1h``, ``1h30m``, ``24h``, ``7d``, ``90s``, ``250ms`` or ``0``.

    Raises:
        ValueError: anything else, a number without a unit among it.

    >>> parse_duration_ms("1h30m")
    5400000
    """
    text = str(value).strip()
    if text == "0":
        return 0
    if isinstance(value, bool) or not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write a number and a unit, such as 15m, 1h or 24h")
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", text)
    if len({unit for _, unit in parts}) < len(parts):
        raise ValueError(f"{text!r} is no duration; it names a unit twice")
    return sum(int(number) * _UNITS_MS[unit] for number, unit in parts)


def format_duration(duration_ms: float) -> str:
    """Return a duration as text in its two largest units, such as ``1h 30m``; below a minute in seconds.

    >>> format_duration(5_400_000), format_duration(3_600_000), format_duration(1_500)
    ('1h 30m', '1h', '1.5s')
    """
    if abs(duration_ms) < 60_000:
        return f"{duration_ms / 1_000:g}s"
    sign, minutes = ("-" if duration_ms < 0 else ""), round(abs(duration_ms) / 60_000)
    days, hours, minutes = minutes // 1_440, minutes // 60 % 24, minutes % 60
    parts = [f"{number}{unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "m")) if number]
    return sign + " ".join(parts[:2])


def parse_time_ms(value: Any) -> int:
    """Return a moment in ms since the epoch, UTC.

    Args:
        value: ISO 8601, taken as UTC where it names no offset, or an integer in ms.

    Raises:
        ValueError: neither, or an integer so small that it looks like seconds.

    >>> parse_time_ms("2017-10-05T18:00:00Z")
    1507226400000
    """
    if isinstance(value, datetime):
        return _to_ms(value)
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+", text):
        try:
            return _to_ms(datetime.fromisoformat(text))
        except ValueError:
            raise ValueError(
                f"{text!r} is no time; write ISO 8601, such as 2017-10-05T18:00:00Z, or ms since the epoch"
            ) from None
    if int(text) > _LARGEST_MS:
        raise ValueError(f"{text} lies behind the year 9999; write milliseconds since the epoch, or ISO 8601")
    if int(text) < _SMALLEST_MS:
        raise ValueError(f"{text} looks like seconds; write milliseconds since the epoch, or ISO 8601")
    return int(text)


def format_time(time_ms: int) -> str:
    """Return a moment as ISO 8601 text in UTC, to the second."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _to_ms(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000)


DurationMs = Annotated[int, BeforeValidator(parse_duration_ms)]
TimeMs = Annotated[int, BeforeValidator(parse_time_ms)]
