"""The state machine of drift detection: a slide's facts in, signals and alarms out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dynmm_core.metrics.drift.baseline import Baseline
from dynmm_core.metrics.drift.detectors import Detector, DetectorName, SeedOf, build_detector
from dynmm_core.metrics.drift.facts import NEW_ITEMS, SIGNALS, SlideFacts, scaled, unscaled

MIN_EVENTS = 100
FACTS, ALARMS = "drift_facts", "drift_alarms"  # where a version's metrics have what a slide said, and what came of it


def watched_by(signal: str, detectors: Sequence[DetectorName]) -> tuple[DetectorName, ...]:
    """Return those of the detectors that judge a signal."""
    # A share near zero has hardly any noise: ADWIN, which goes by the variance, and KSWIN, which goes by ranks, would take its
    # slowest trend for a change. Page-Hinkley tolerates half a standard deviation.
    return tuple(name for name in detectors if signal != NEW_ITEMS or name == "page_hinkley")


@dataclass(frozen=True)
class Alarm:
    """A detector suspects drift in a signal: its value in the slides up to ``slide_end_ms``, and what was expected."""

    slide_end_ms: int
    detector: str
    signal: str
    value: float
    expected: float

    def to_json(self) -> dict[str, Any]:
        """The alarm by field."""
        return asdict(self)


@dataclass(frozen=True)
class Watched:
    """What a slide gave: signals by name, none while too few events have come together, and alarms."""

    signals: dict[str, float] = field(default_factory=dict)
    alarms: tuple[Alarm, ...] = ()


class DriftWatch:
    """Joins slides until they hold 100 events, and has every signal of theirs judged by each of the detectors.

    Args:
        seed_of: seeds the detectors' draws.
    """

    def __init__(self, detectors: Sequence[DetectorName], seed_of: SeedOf) -> None:
        self._detectors, self._seed_of = tuple(detectors), seed_of
        self._open: list[SlideFacts] = []
        self._baselines = {signal: Baseline() for signal in SIGNALS}
        self._built: dict[tuple[str, DetectorName], Detector] = {}

    def observe(self, facts: SlideFacts) -> Watched:
        """Take in the next slide's facts."""
        self._open.append(facts)
        if sum(one.events for one in self._open) < MIN_EVENTS:
            return Watched()
        joined, self._open = SlideFacts.joined(self._open), []
        signals = joined.signals()
        alarms: list[Alarm] = []
        for name, signal in signals.items():
            compared = self._baselines[name].compare(joined.start_ms, scaled(name, signal.value), signal.n)
            if compared is None or compared.score is None:
                continue
            if compared.anew:
                self._built = {key: detector for key, detector in self._built.items() if key[0] != name}
            expected = unscaled(name, compared.expected)
            suspecting = self._suspecting(name, compared.score, joined.end_ms)
            alarms += [Alarm(joined.end_ms, detector, name, signal.value, expected) for detector in suspecting]
        return Watched({name: signal.value for name, signal in signals.items()}, tuple(alarms))

    def _suspecting(self, signal: str, score: float, moment_ms: int) -> list[DetectorName]:
        """The detectors that take the score for a change; every one of them takes it in."""
        found = []
        for name in watched_by(signal, self._detectors):
            detector = self._built.get((signal, name))
            if detector is None:
                detector = self._built[signal, name] = build_detector(name, signal, self._seed_of)
            if detector.suspects(score, moment_ms):
                found.append(name)
        return found
