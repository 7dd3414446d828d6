"""Moments as people read them."""

from datetime import UTC, datetime


def format_time(time_ms: int) -> str:
    """Return ``time_ms`` (ms UTC) to the second, with its zone."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
