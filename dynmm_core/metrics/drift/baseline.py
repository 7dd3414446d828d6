"""What a signal is expected to be, and how far off it is in units of its usual noise."""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from dynmm_core.times import DAY_MS

MEMORY_DAYS = 7
_FIRST_ERRORS = 8  # before, nobody knows what noise is usual
_LIMIT = 5.0
_NORMAL = 1.4826  # of a normal variable: standard deviation over median absolute deviation
_CHOICE, _BETTER = 24, 0.8  # how many errors of both kinds are compared, and how much smaller those by time of day must be


@dataclass(frozen=True)
class Compared:
    """What was expected, and the deviation in standard deviations, limited to ±5; None before its noise is known.

    anew: from here on something else is expected than before, so that earlier scores say nothing of later ones.
    """

    expected: float
    score: float | None
    anew: bool = False


class Baseline:
    """Compares a signal with the mean of the day before, or with the same time of the days before, at most seven.

    The latter from the moment on at which it would have been clearly the better guess, which it is of a signal that swings by the
    day. The noise is that of the guesses' errors of the last seven days: from their median, so that a drift does not hide
    itself, and at least half of their root mean square, and no less than that of a mean of n values between 0 and 1.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._values: list[float] = []
        self._errors: list[tuple[float | None, float | None]] = []
        self._by_time = False

    def compare(self, start_ms: int, value: float, n: int) -> Compared | None:
        """Compare the value about ``n`` events from ``start_ms`` on, and remember it; None for the first one."""
        self._forget(start_ms - MEMORY_DAYS * DAY_MS)
        anew = not self._by_time and self._swings()
        self._by_time |= anew
        level, same_time = self._level(start_ms), self._same_time(start_ms)
        by_time = self._by_time and same_time is not None
        expected = same_time if by_time else level
        errors = [one for pair in self._errors if (one := pair[by_time]) is not None]
        self._starts.append(start_ms)
        self._values.append(value)
        self._errors.append((_error(value, level), _error(value, same_time)))
        if expected is None:
            return None
        score = (value - expected) / _noise(errors, n) if len(errors) >= _FIRST_ERRORS else None
        return Compared(expected, None if score is None else min(max(score, -_LIMIT), _LIMIT), anew)

    def _level(self, start_ms: int) -> float | None:
        first = bisect_left(self._starts, start_ms - DAY_MS)
        return _mean(self._values[first:] or self._values[-1:])

    def _same_time(self, start_ms: int) -> float | None:
        moments = (start_ms - day * DAY_MS for day in range(1, MEMORY_DAYS + 1))
        return _mean([self._values[place] for moment in moments if (place := bisect_right(self._starts, moment) - 1) >= 0])

    def _swings(self) -> bool:
        """Whether the time of day has been the better guess."""
        both = [pair for pair in self._errors if None not in pair]
        if len(both) < _CHOICE:
            return False
        level, same_time = np.median(np.abs(np.array(both, float)), axis=0)
        return bool(same_time < _BETTER * level)

    def _forget(self, before_ms: int) -> None:
        """Drop what ended before a moment: what is still under way then is needed."""
        gone = bisect_right(self._starts, before_ms) - 1
        if gone > 0:
            for column in (self._starts, self._values, self._errors):
                del column[:gone]


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _error(value: float, expected: float | None) -> float | None:
    return None if expected is None else value - expected


def _noise(errors: list[float], n: int) -> float:
    sizes = np.abs(errors)
    usual = max(_NORMAL * float(np.median(sizes)), 0.5 * math.sqrt(float(np.mean(sizes**2))))
    return max(usual, 0.5 / math.sqrt(n))
