"""The metrics of one process of a flow, in a registry of their own. Names: ``dynmm_<noun>_<unit>``."""

import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Enum, Histogram, Info

from flows.observe.collectors import AdaptLag, DiskSpace, EventTotals, PutGauge, StateSizes, WatermarkDelays
from flows.observe.health import State

_COMMIT_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}


class FlowMetrics:
    """What one process shows of itself. Setters take plain numbers and are meant to be called once per batch or slide.

    A metric that a process never sets has no sample, so that a summarize process says nothing of the store. ``clock`` gives
    seconds UTC.
    """

    def __init__(self, run: str, flow: str, process: int = 0, clock: Callable[[], float] = time.time) -> None:
        self.registry = registry = CollectorRegistry()
        self._events, self._delays, self._disks = EventTotals(), WatermarkDelays(clock), DiskSpace()
        self._adapt_lag, self._sizes = AdaptLag(clock), StateSizes()
        for collector in (self._events, self._delays, self._disks, self._adapt_lag, self._sizes):
            registry.register(collector)
        self._askers: list[Callable[[], None]] = []
        self._info = Info("dynmm_up", "What this process is", registry=registry)
        self._info.info({"run": run, "flow": flow, "process": str(process)})
        states = [state.value for state in State]
        self._health = Enum("dynmm_health_state", "State of this process", states=states, registry=registry)
        self._add_gauges()
        self._add_counters()

    def _add_gauges(self) -> None:
        self._lag = self._gauge("dynmm_consumer_lag_messages", "Messages behind the end of a partition", "topic", "partition")
        self._open_slides = self._gauge("dynmm_open_slides", "Slides that hold events and are not closed yet")
        self._slide = self._gauge("dynmm_slide_seconds", "Configured length of a slide")
        self._last_commit = self._gauge(
            "dynmm_last_commit_timestamp_seconds", "When the last version was committed, or waited for"
        )
        self._version = self._gauge("dynmm_store_version", "Newest version of the store")
        self._context = self._gauge("dynmm_context_known_ratio", "Share of the last slide's events with a known value", "column")
        self._signals = self._gauge("dynmm_drift_signal", "What drift is looked for in, as of the last slides", "signal")

    def _add_counters(self) -> None:
        self._commit = Histogram(
            "dynmm_slide_commit_seconds", "From a slide's close to its commit", buckets=_COMMIT_SECONDS, registry=self.registry
        )
        self._epochs = self._counter("dynmm_epochs", "Epochs of the engine that ended")
        self._versions = self._counter("dynmm_versions", "Versions that this process committed")
        self._rejected = self._counter("dynmm_update_rejected", "Updates of the adapter that the guard took back")
        self._alarms = self._counter("dynmm_drift_alarms", "Drifts that a detector suspected", "detector", "signal")
        self._broker_errors = self._counter("dynmm_broker_errors", "Errors that the broker's client told", "kind")

    def _gauge(self, name: str, text: str, *labels: str) -> PutGauge:
        gauge = PutGauge(name, text, *labels)
        self.registry.register(gauge)
        return gauge

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def at_scrape(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called before every scrape, in the server's thread."""
        self._askers.append(tell)

    def refresh(self) -> None:
        """Ask for what is told only when somebody looks."""
        for tell in self._askers:
            tell()

    def sample_names(self) -> frozenset[str]:
        """Every name that a scrape may show, whether or not it has a sample yet."""
        families = self.registry.collect()
        return frozenset(family.name + suffix for family in families for suffix in _SUFFIXES.get(family.type, ("",)))

    def observe_tallies(self, read: int, used: int, late: int, duplicate: int, dead: int, pending: int) -> None:
        """Events since the run's beginning, those before a resume included; a smaller number than before is not shown."""
        self._events.put({"read": read, "used": used, "late": late, "duplicate": duplicate, "dead": dead}, pending)

    def observe_lag(self, topic: str, partition: int, messages: int) -> None:
        """How many messages of a partition are still to be read."""
        self._lag.put(messages, topic, str(partition))

    def observe_newest(self, partition: int, newest_ms: int) -> None:
        """The newest event time of a partition, ms UTC; a scrape shows how long ago that is."""
        self._delays.put(partition, newest_ms)

    def observe_open_slides(self, slides: int) -> None:
        """How many slides hold events and wait for the watermark."""
        self._open_slides.put(slides)

    def observe_slide_length(self, slide_ms: int) -> None:
        """The configured length of a slide, told once: alerts measure time in slides."""
        self._slide.put(slide_ms / 1000)

    def observe_adapt_lag(self, slides: int, oldest_ms: int | None) -> None:
        """Complete slides not yet committed, and when the oldest of them closed, ms UTC (None where none waits)."""
        self._adapt_lag.put(slides, oldest_ms)

    def observe_commit(self, version: int, seconds: float, at_ms: int, rejected: bool = False) -> None:
        """A version was committed at ``at_ms`` UTC, so many seconds after its slide closed; ``rejected`` by the guard or not."""
        self._versions.inc()
        self._rejected.inc(int(rejected))
        self._commit.observe(seconds)
        self.observe_head(version, at_ms)

    def observe_head(self, version: int | None, at_ms: int) -> None:
        """The store's newest version and its commit time, ms UTC: at a start, and after a rollback.

        For an empty store: None and now, so that a run that never commits is noticed like one that has stopped to.
        """
        if version is not None:
            self._version.put(version)
        self._last_commit.put(at_ms / 1000)

    def observe_context(self, column: str, share: float) -> None:
        """The share of the last slide's events, 0 to 1, whose value in a context column the bundle knows."""
        self._context.put(share, column)

    def watch_drift(self, detector: str, signal: str) -> None:
        """Show that no drift was suspected so far: from a counter that begins with its first alarm no increase is seen."""
        self._alarms.labels(detector, signal)

    def observe_drift_signal(self, signal: str, value: float) -> None:
        """A signal's value in the last slides that told it."""
        self._signals.put(value, signal)

    def observe_drift_alarm(self, detector: str, signal: str) -> None:
        """A detector suspects drift in a signal."""
        self._alarms.labels(detector, signal).inc()

    def watch_state(self, part: str, folder: Path) -> None:
        """Show, from time to time, how large ``folder`` is."""
        self._sizes.watch(part, folder)

    def observe_epoch(self) -> None:
        """An epoch of the engine ended."""
        self._epochs.inc()

    def observe_broker_error(self, kind: str) -> None:
        """The broker's client told an error; ``kind`` is its name, one of a few dozen."""
        self._broker_errors.labels(kind).inc()

    def observe_health(self, state: State) -> None:
        """The state that the process reports of itself."""
        self._health.state(state.value)

    def watch_disk(self, part: str, folder: Path) -> None:
        """Show, at every scrape, how full the file system of ``folder`` is."""
        self._disks.watch(part, folder)
