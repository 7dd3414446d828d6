"""Moments and lengths of time as the report writes them."""

from datetime import UTC, datetime

from dynmm_core.times import DAY_MS
from replay.html.cells import WINDOW_MS
from replay.html.parts import Cell

_NAMES = {
    WINDOW_MS: "an hour",
    3 * WINDOW_MS: "three hours",
    6 * WINDOW_MS: "six hours",
    DAY_MS: "a day (UTC)",
    7 * DAY_MS: "a week",
    28 * DAY_MS: "four weeks",
}


def bucket_name(bucket_ms: int) -> str:
    """Return the name of a bucket of time, such as ``a day (UTC)``."""
    return _NAMES[bucket_ms]


def moment_cell(time_ms: int, bucket_ms: int = WINDOW_MS) -> Cell:
    """Return the moment at which a bucket begins, to the minute, or to the day where buckets are whole days."""
    return Cell(moment(time_ms)[: 10 if bucket_ms >= DAY_MS else 16], time_ms)


def moment(time_ms: int) -> str:
    """Return a moment in UTC to the minute, such as ``2024-01-08 06:00``."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")
