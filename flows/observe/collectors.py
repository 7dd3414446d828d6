"""Collectors that are given a total or a moment, where prometheus_client's own count or measure by themselves."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_WALK_EVERY_S = 10.0
_WALK_SHARE = 0.05  # of the time goes into measuring folders, at most
OUTCOMES = ("read", "used", "late", "duplicate", "dead")


class EventTotals(Collector):
    """Events by outcome since the run began, and those pending, always of one and the same moment.

    A total never goes back: what a resumed process reads for the second time is not told a second time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[str, int] = {}
        self._pending = 0

    def put(self, totals: dict[str, int], pending: int) -> None:
        """Replace the totals by those of a later moment."""
        with self._lock:
            for outcome, total in totals.items():
                self._totals[outcome] = max(total, self._totals.get(outcome, 0))
            self._pending = pending

    def collect(self) -> Iterator[Metric]:
        """Both families; no sample before the first totals."""
        with self._lock:
            totals, pending = dict(self._totals), self._pending
        counter = CounterMetricFamily("dynmm_events", "Events since the run began, by what became of them", labels=["outcome"])
        for outcome, total in totals.items():
            counter.add_metric([outcome], total)
        yield counter
        waiting = GaugeMetricFamily("dynmm_events_pending", "Events read that no closed slide holds yet")
        if totals:
            waiting.add_metric([], pending)
        yield waiting


class PutGauge(Collector):
    """A gauge that shows only what it was given: prometheus_client's own says 0 where nothing was ever said."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._values: dict[tuple[str, ...], float] = {}

    def put(self, value: float, *labels: str) -> None:
        """Replace the value for these labels, in the order in which the gauge names them."""
        if len(labels) != len(self._labels):
            raise ValueError(f"{self._name}: {labels} for the labels {self._labels}")
        self._values[labels] = value

    def collect(self) -> Iterator[Metric]:
        """The family, with a sample for each value given."""
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in self._values.copy().items():
            family.add_metric(labels, value)
        yield family


class WatermarkDelays(Collector):
    """Seconds from each partition's newest event time to now: grows by itself where nothing more comes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._newest_ms: dict[int, int] = {}

    def put(self, partition: int, newest_ms: int) -> None:
        """Replace the newest event time of a partition."""
        self._newest_ms[partition] = newest_ms

    def collect(self) -> Iterator[Metric]:
        """One gauge with a sample per partition."""
        family = GaugeMetricFamily(
            "dynmm_watermark_delay_seconds", "Now minus the newest event time of a partition", labels=["partition"]
        )
        now_s = self._clock()
        for partition, newest_ms in sorted(self._newest_ms.copy().items()):
            family.add_metric([str(partition)], now_s - newest_ms / 1000)
        yield family


class AdaptLag(Collector):
    """Complete slides that wait to be learned from, and for how long the oldest has: it grows while a slide is worked on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: tuple[int, int | None] | None = None

    def put(self, slides: int, oldest_ms: int | None) -> None:
        """Replace the number of waiting slides, and when the oldest of them closed, ms UTC (None where none waits)."""
        self._waiting = slides, oldest_ms

    def collect(self) -> Iterator[Metric]:
        """Two gauges; no sample before the first number."""
        number = GaugeMetricFamily("dynmm_adapt_lag_slides", "Complete slides read that wait to be learned from, or are")
        age = GaugeMetricFamily("dynmm_adapt_lag_seconds", "For how long the oldest of them has waited")
        if self._waiting is not None:
            slides, oldest_ms = self._waiting
            number.add_metric([], slides)
            age.add_metric([], 0 if oldest_ms is None else max(0.0, self._clock() - oldest_ms / 1000))
        yield number
        yield age


class StateSizes(Collector):
    """Bytes of the files in watched folders, and of the Arrow data that this process holds.

    Folders are walked by the scrape that asks, seldom and for a small share of the time; in between the last size is shown.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._folders: dict[str, Path] = {}
        self._sizes: dict[str, int] = {}
        self._next_walk = -1.0
        self._lock = threading.Lock()

    def watch(self, part: str, folder: Path) -> None:
        """Show the size of ``folder`` under the name ``part``."""
        with self._lock:
            self._folders[part] = folder
            self._next_walk = -1.0

    def collect(self) -> Iterator[Metric]:
        """One gauge with a sample per folder that is there, and one for ``memory``."""
        family = GaugeMetricFamily("dynmm_state_bytes", "Size of state, in memory or on disk", labels=["part"])
        for part, size_bytes in self._measured().items():
            family.add_metric([part], size_bytes)
        family.add_metric(["memory"], pa.total_allocated_bytes())
        yield family

    def _measured(self) -> dict[str, int]:
        with self._lock:
            begun = self._monotonic()
            new = any(folder.is_dir() for part, folder in self._folders.items() if part not in self._sizes)
            if new or begun >= self._next_walk:
                self._sizes = {part: folder_bytes(folder) for part, folder in self._folders.items() if folder.is_dir()}
                ended = self._monotonic()
                self._next_walk = ended + max(_WALK_EVERY_S, (ended - begun) / _WALK_SHARE)
            return dict(self._sizes)


def folder_bytes(folder: Path) -> int:
    """The bytes of all files below a folder, as far as they can be looked at while others come and go."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += folder_bytes(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:
        pass  # removed in between
    return total


class DiskSpace(Collector):
    """Free and whole size of the file systems that hold what the flow writes."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def watch(self, part: str, folder: Path) -> None:
        """Show the file system of ``folder`` under the name ``part``."""
        self._folders = {**self._folders, part: folder}

    def collect(self) -> Iterator[Metric]:
        """Two gauges with a sample per watched folder that can be looked at."""
        free = GaugeMetricFamily("dynmm_disk_free_bytes", "Free bytes of the file system that holds a part", labels=["part"])
        size = GaugeMetricFamily("dynmm_disk_size_bytes", "Size of the file system that holds a part", labels=["part"])
        for part, folder in self._folders.items():
            try:
                usage = shutil.disk_usage(folder)
            except OSError:
                continue  # not made yet, or unmounted: a scrape tells the rest all the same
            free.add_metric([part], usage.free)
            size.add_metric([part], usage.total)
        yield free
        yield size
