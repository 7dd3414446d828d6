"""Sliding sums per item over panes: exact integer horizons and exponentially decayed counts."""

from collections import deque
from collections.abc import Sequence

import numpy as np

PANE_MS = 300_000


class HorizonCounts:
    """Integer counts per item over several sliding horizons that end at ``as_of_ms``.

    A horizon of length w holds the panes that start at or after ``as_of_ms - w`` and end at or before
    ``as_of_ms``. Panes enter and leave incrementally, so that the cost of an advance is the traffic of
    the panes that move, whatever the horizon's length.

    Args:
        horizons_ms: lengths, each a positive multiple of ``PANE_MS``.
    """

    def __init__(self, horizons_ms: Sequence[int]) -> None:
        for length in horizons_ms:
            if length <= 0 or length % PANE_MS:
                raise ValueError(f"horizons_ms: {length} is no positive multiple of {PANE_MS} ms, the pane")
        self.horizons_ms = tuple(horizons_ms)
        self.as_of_ms: int | None = None
        self._sums = np.zeros((len(self.horizons_ms), 1), np.int64)
        self._waiting: deque[tuple[int, np.ndarray, np.ndarray]] = deque()
        self._inside: list[deque[tuple[int, np.ndarray, np.ndarray]]] = [deque() for _ in self.horizons_ms]

    def observe(self, pane_start_ms: np.ndarray, item_idx: np.ndarray, events: np.ndarray) -> None:
        """Add counts of panes not yet behind ``as_of_ms``; rows (n,) each, sorted by pane.

        Raises:
            ValueError: a pane ended at or before ``as_of_ms``; its slide is closed.
        """
        if not len(pane_start_ms):
            return
        if self.as_of_ms is not None and pane_start_ms[0] + PANE_MS <= self.as_of_ms:
            raise ValueError(f"pane_start_ms: {pane_start_ms[0]} ended before as_of_ms {self.as_of_ms}; slides close in order")
        self._grow(int(item_idx.max()) + 1)
        starts = np.flatnonzero(np.r_[True, pane_start_ms[1:] != pane_start_ms[:-1]])
        for first, last in zip(starts, np.r_[starts[1:], len(pane_start_ms)], strict=True):
            self._waiting.append((int(pane_start_ms[first]), item_idx[first:last], events[first:last].astype(np.int64)))

    def advance(self, as_of_ms: int) -> None:
        """Move the end of every horizon to ``as_of_ms``, a multiple of the pane, never backwards."""
        if as_of_ms % PANE_MS or (self.as_of_ms is not None and as_of_ms < self.as_of_ms):
            raise ValueError(f"as_of_ms: {as_of_ms} must be a multiple of {PANE_MS} and not before {self.as_of_ms}")
        self.as_of_ms = as_of_ms
        while self._waiting and self._waiting[0][0] + PANE_MS <= as_of_ms:
            pane = self._waiting.popleft()
            for row, length in enumerate(self.horizons_ms):
                if pane[0] >= as_of_ms - length:
                    np.add.at(self._sums[row], pane[1], pane[2])
                    self._inside[row].append(pane)
        for row, length in enumerate(self.horizons_ms):
            while self._inside[row] and self._inside[row][0][0] < as_of_ms - length:
                pane = self._inside[row].popleft()
                np.subtract.at(self._sums[row], pane[1], pane[2])

    def sums(self, num_items: int) -> np.ndarray:
        """Return the counts (horizons, num_items + 1) int64 at ``as_of_ms``; column 0 is padding."""
        self._grow(num_items + 1)
        return self._sums[:, : num_items + 1].copy()

    def _grow(self, size: int) -> None:
        if size > self._sums.shape[1]:
            grown = np.zeros((len(self.horizons_ms), max(size, 2 * self._sums.shape[1])), np.int64)
            grown[:, : self._sums.shape[1]] = self._sums
            self._sums = grown


class DecayedCounts:
    """Exponentially decayed counts per item: an event counts 2^(-age / half-life), its age taken from its pane's end.

    Panes are added in order at every advance, so that equal sequences of slides give equal bits.

    Args:
        half_lives_ms: one row of counts each, above 0.
    """

    def __init__(self, half_lives_ms: Sequence[int]) -> None:
        if any(half_life <= 0 for half_life in half_lives_ms):
            raise ValueError(f"half_lives_ms: {tuple(half_lives_ms)} must all be above 0")
        self.half_lives_ms = tuple(half_lives_ms)
        self.as_of_ms: int | None = None
        self._counts = np.zeros((len(self.half_lives_ms), 1), np.float64)
        self._waiting: deque[tuple[int, np.ndarray, np.ndarray]] = deque()

    def observe(self, pane_start_ms: np.ndarray, item_idx: np.ndarray, events: np.ndarray) -> None:
        """Add counts of panes not yet behind ``as_of_ms``; rows (n,) each, sorted by pane."""
        if not len(pane_start_ms):
            return
        self._grow(int(item_idx.max()) + 1)
        starts = np.flatnonzero(np.r_[True, pane_start_ms[1:] != pane_start_ms[:-1]])
        for first, last in zip(starts, np.r_[starts[1:], len(pane_start_ms)], strict=True):
            self._waiting.append((int(pane_start_ms[first]), item_idx[first:last], events[first:last]))

    def advance(self, as_of_ms: int) -> None:
        """Age every count to ``as_of_ms`` and take in the panes that ended by then."""
        rates = 1.0 / np.array(self.half_lives_ms, np.float64)
        if self.as_of_ms is not None:
            self._counts *= np.exp2(-(as_of_ms - self.as_of_ms) * rates)[:, None]
        while self._waiting and self._waiting[0][0] + PANE_MS <= as_of_ms:
            start, items, events = self._waiting.popleft()
            weights = np.exp2(-(as_of_ms - start - PANE_MS) * rates)
            for row in range(len(rates)):
                np.add.at(self._counts[row], items, weights[row] * events)
        self.as_of_ms = as_of_ms

    def values(self, num_items: int) -> np.ndarray:
        """Return the decayed counts (half_lives, num_items + 1) float64 at ``as_of_ms``."""
        self._grow(num_items + 1)
        return self._counts[:, : num_items + 1].copy()

    def _grow(self, size: int) -> None:
        if size > self._counts.shape[1]:
            grown = np.zeros((len(self.half_lives_ms), max(size, 2 * self._counts.shape[1])), np.float64)
            grown[:, : self._counts.shape[1]] = self._counts
            self._counts = grown
