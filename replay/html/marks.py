"""Marks of known drifts: what charts over time show of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from simulators.truth_file import DriftMark


@dataclass(frozen=True)
class Mark:
    """A drift on a time axis: its number, its start, and spans (start, end, level) in which it is at a level above 0.

    passing: the spans that are over one day, by the drift's plan or before the log ends; the others are how things are then.
    """

    number: int
    start_ms: int
    spans: tuple[tuple[int, int, float], ...]
    passing: tuple[tuple[int, int, float], ...]

    @property
    def label(self) -> str:
        """What charts call it."""
        return f"D{self.number}"


def drift_marks(drifts: Sequence[DriftMark], until_ms: int) -> tuple[Mark, ...]:
    """Return the marks of the drifts that begin before ``until_ms``, the end of what was ranked; numbers count all from 1."""
    marks = []
    for number, drift in enumerate(drifts, 1):
        if drift.start_ms >= until_ms:
            continue
        spans = _spans(drift, until_ms)
        goes_back = any(level == 0 for _, level in drift.levels)
        passing = tuple(span for span in spans if goes_back or span[1] < until_ms)
        marks.append(Mark(number, drift.start_ms, spans, passing))
    return tuple(marks)


def _spans(drift: DriftMark, until_ms: int) -> tuple[tuple[int, int, float], ...]:
    levels = list(drift.levels)
    if not levels and drift.end_ms is not None:
        # It rises evenly: half of it, on the mean, until all of it is in force.
        levels = [(drift.start_ms, 0.5), (drift.end_ms, 1.0)]
    ends = [at for at, _ in levels[1:]] + [until_ms]
    found = ((at, min(end, until_ms), level) for (at, level), end in zip(levels, ends, strict=True))
    return tuple((at, end, level) for at, end, level in found if level > 0 and at < end)
