"""Sliding counts per item from the library's clocks and horizons, in runs of columns."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from benchmarks.stream.numbers import ItemNumbers
from dynmm_core.windows.clock import DRAINED_MS, NEVER_MS, PartitionClock
from dynmm_core.windows.horizons import HorizonCounts

CELL_SCHEMA = pa.schema([("window_end_ms", pa.int64()), ("item_id", pa.string()), ("events", pa.int64())])
Write = Callable[[pa.Table], None]


class SlidingWindows:
    """Counts of every window that ends on the slide, sent to ``write`` once no partition can add to it."""

    def __init__(self, partitions: int, window_ms: int, slide_ms: int, lateness_ms: int, write: Write) -> None:
        self._slide_ms, self._window_ms, self._write = slide_ms, window_ms, write
        self._clocks = [PartitionClock(slide_ms, lateness_ms) for _ in range(partitions)]
        self._closed_through_ms = NEVER_MS
        self._horizon = HorizonCounts([window_ms])
        self._items = ItemNumbers()
        self._open: dict[int, np.ndarray] = {}
        self.late = 0

    def add(self, partition: int, times: np.ndarray, items: pa.Array) -> None:
        """Take in the next events of a partition: times (n,) int64, item ids (n,)."""
        reading = self._clocks[partition].read(times)
        numbers = self._items.numbers_of(items)
        if reading.late.any():
            self.late += int(reading.late.sum())
            times, numbers = times[~reading.late], numbers[~reading.late]
        if len(times):
            self._count(times // self._slide_ms, numbers)
        if reading.passed:
            self._advance()

    def finish(self) -> None:
        """Every partition has ended: close all windows that hold an event."""
        for clock in self._clocks:
            clock.drain()
        self._advance()

    def _count(self, slides: np.ndarray, numbers: np.ndarray) -> None:
        first, last = int(slides.min()), int(slides.max())
        for slide in range(first, last + 1):
            counts = np.bincount(numbers if first == last else numbers[slides == slide], minlength=len(self._items) + 1)
            if (known := self._open.get(slide)) is not None:
                counts[: len(known)] += known
            self._open[slide] = counts

    def _advance(self) -> None:
        through_ms = min(clock.closed_through_ms for clock in self._clocks)
        if through_ms <= self._closed_through_ms or not self._open:
            return
        first_ms = min(self._open) * self._slide_ms if self._closed_through_ms == NEVER_MS else self._closed_through_ms
        last_ms = max(self._open) * self._slide_ms + self._window_ms if through_ms == DRAINED_MS else through_ms
        for end_ms in range(first_ms + self._slide_ms, last_ms + 1, self._slide_ms):
            self._close(end_ms)
        self._closed_through_ms = max(last_ms, self._closed_through_ms)

    def _close(self, end_ms: int) -> None:
        counts = self._open.pop(end_ms // self._slide_ms - 1, np.zeros(0, np.int64))
        numbers = np.flatnonzero(counts)
        self._horizon.observe(np.full(len(numbers), end_ms - self._slide_ms), numbers, counts[numbers])
        self._horizon.advance(end_ms)
        sums = self._horizon.sums(len(self._items))[0]
        active = np.flatnonzero(sums)
        names = self._items.names.take(pa.array(active - 1))
        self._write(pa.table([np.full(len(active), end_ms), names, sums[active]], schema=CELL_SCHEMA))
