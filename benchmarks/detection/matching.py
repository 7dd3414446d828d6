"""Alarms beside what is known of a stream's drifts."""

from collections.abc import Sequence
from dataclasses import dataclass

from dynmm_core.metrics.drift.watch import Alarm
from simulators.measures import Detections, detections
from simulators.truth_file import KnownDrift

ANY = "any"
AFTERMATH_MS = 86_400_000  # what a drift left behind is expected after a day, and may be suspected until then


@dataclass(frozen=True)
class Judged:
    """The alarms of one stream under detectors, what drifts it had, and how many slides were judged."""

    name: str
    seed: int
    alarms: tuple[Alarm, ...]
    spans: tuple[tuple[int, int], ...]
    slides: int

    def score(self, signal: str, detector: str) -> Detections:
        """The delay of each drift and the false alarms of a detector on a signal; ``any`` stands for all of them."""
        wanted = [one for one in self.alarms if signal in (ANY, one.signal) and detector in (ANY, one.detector)]
        # Several alarms of one slide are one, and come with its last moment: a drift that starts at its end is not what it saw.
        return detections(sorted({one.slide_end_ms - 1 for one in wanted}), self.spans)


def spans_of(drifts: Sequence[KnownDrift], end_ms: int) -> tuple[tuple[int, int], ...]:
    """Return from when to when an alarm is owed to each drift: to a day after its end, at most to the next one's start.

    ``end_ms``: the end of the last slide.
    """
    starts = sorted(drift.start_ms for drift in drifts)
    spans = []
    for drift in drifts:
        later = [start for start in starts if start > drift.start_ms]
        until = end_ms if drift.end_ms is None else min(drift.end_ms + AFTERMATH_MS, end_ms)
        spans.append((drift.start_ms, min([until, *later])))
    return tuple(spans)
