"""Collectors that are given a total or a moment, where prometheus_client's own count or measure by themselves."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

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
