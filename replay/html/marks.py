"""Marks of known drifts: what charts over time show of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """A drift on a time axis: a short label, its start, its end where it has one, and when its level moves in between."""

    label: str
    start_ms: int
    end_ms: int | None
    steps_ms: tuple[int, ...] = ()
