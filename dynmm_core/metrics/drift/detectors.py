"""River's detectors, fed with deviations in standard deviations; each says of every value whether it suspects drift.

Their settings were chosen on streams without drift: docs/experiments.md.
"""

from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol, get_args

from dynmm_core.names import choose, listed

DetectorName = Literal["adwin", "page_hinkley", "kswin"]
DETECTORS: tuple[DetectorName, ...] = get_args(DetectorName)
OFF = "off"
SeedOf = Callable[[int, str], int]  # a seed that a moment in ms and a purpose name, and nothing else

_FIRST_ALARM = 12  # values a detector must have seen
_ADWIN_SCALE = 3.0  # its bound is for values within [0, 1]; the larger they are, the less its term for their range counts
_KSWIN_WINDOW, _KSWIN_NEWEST = 72, 18


class Detector(Protocol):
    """A detector of changes; after an alarm it begins anew."""

    def suspects(self, value: float, moment_ms: int) -> bool:
        """Take in the next value; ``moment_ms`` names it, where chance is drawn."""
        ...


class Adwin:
    """Two parts of the values seen differ in their mean (Bifet and Gavaldà, 2007)."""

    def __init__(self) -> None:
        from river.drift import ADWIN

        self._adwin = ADWIN(delta=0.01, clock=1, min_window_length=3, grace_period=_FIRST_ALARM)

    def suspects(self, value: float, moment_ms: int) -> bool:
        """See :class:`Detector`."""
        self._adwin.update(_ADWIN_SCALE * value)
        return bool(self._adwin.drift_detected)


class PageHinkley:
    """Deviations from the mean beyond half a standard deviation add up to ten (Page, 1954)."""

    def __init__(self) -> None:
        from river.drift import PageHinkley as RiverPageHinkley

        self._test = RiverPageHinkley(min_instances=_FIRST_ALARM, delta=0.5, threshold=10.0)

    def suspects(self, value: float, moment_ms: int) -> bool:
        """See :class:`Detector`."""
        self._test.update(value)
        return bool(self._test.drift_detected)


class Kswin:
    """The newest 18 values are distributed otherwise than 18 drawn from the 54 before them (Raab et al., 2020).

    River's detector is made anew for every value, with what it had seen as its window and with a seed that names the value: so
    nothing but the last 71 values decides, and no running generator.
    """

    def __init__(self, signal: str, seed_of: SeedOf) -> None:
        self._purpose, self._seed_of = f"kswin/{signal}", seed_of
        self._window: deque[float] = deque(maxlen=_KSWIN_WINDOW - 1)

    def suspects(self, value: float, moment_ms: int) -> bool:
        """See :class:`Detector`."""
        suspected = len(self._window) == _KSWIN_WINDOW - 1 and self._test(value, moment_ms)
        if suspected:
            self._window.clear()
        else:
            self._window.append(value)
        return suspected

    def _test(self, value: float, moment_ms: int) -> bool:
        from river.drift import KSWIN

        test = KSWIN(
            alpha=0.0001, window_size=_KSWIN_WINDOW, stat_size=_KSWIN_NEWEST,
            seed=self._seed_of(moment_ms, self._purpose), window=self._window,
        )  # fmt: skip
        test.update(value)
        return bool(test.drift_detected)


def build_detector(name: DetectorName, signal: str, seed_of: SeedOf) -> Detector:
    """Return a detector of a signal that has seen nothing; ``seed_of`` seeds what it draws."""
    makers: dict[str, Callable[[], Detector]] = {
        "adwin": Adwin, "page_hinkley": PageHinkley, "kswin": lambda: Kswin(signal, seed_of)
    }  # fmt: skip
    return makers[name]()


def parse_detectors(value: object) -> tuple[DetectorName, ...]:
    """Read names with commas between, or a list of them; "off" is none.

    Raises:
        ValueError: a name is unknown or stands twice, or there is none.
    """
    names = listed(value) if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        raise ValueError(f"{value!r} is no list of detectors; choose from {', '.join(DETECTORS)}, or {OFF}")
    if names == [OFF] or names == ():
        return ()
    return choose(names, DETECTORS, "detector", f", or {OFF}")
