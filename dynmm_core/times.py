"""Hours and days in the unit of all times here, and moments as people read them."""

from datetime import UTC, datetime

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def format_time(time_ms: int) -> str:
    """Return ``time_ms`` (ms UTC) to the second, with its zone."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
