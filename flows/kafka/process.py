"""One process of a dataflow on Kafka: what its steps tell is shown outside as metrics, health and logs."""

import time
from collections.abc import Callable
from pathlib import Path

from dynmm_core.windows.clock import NEVER_MS
from dynmm_core.windows.partition import PartitionReader
from flows.observe.health import Health
from flows.observe.metrics import FlowMetrics
from flows.process import FlowProcess, Report

_TELL_EVERY_S = 1.0
Ends = Callable[[], dict[int, int] | None]


class LiveProcess(FlowProcess):
    """Shared state of the steps of one process on Kafka.

    Args:
        metrics, health: where to show what the steps tell; ends: the offsets at which partitions end, None while nobody knows;
        needs_timestamps: whether events need the broker's time.
    """

    def __init__(
        self, number: int, on_failure: Callable[[BaseException], None] | None, metrics: FlowMetrics, health: Health,
        ends: Ends = lambda: None, needs_timestamps: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(number, on_failure)
        self.metrics, self.health = metrics, health
        self.ends, self.needs_timestamps = ends, needs_timestamps
        self._told_at: dict[int | str, float] = {}

    def fail(self, error: BaseException) -> None:
        """Note a failure; only the first counts."""
        self.health.failing(f"{type(error).__name__}: {error}")
        super().fail(error)

    def note_partition(self, topic: str, partition: int, reader: PartitionReader, high: Callable[[], int]) -> None:
        """A partition was read; ``high`` asks for the offset behind its newest message."""
        if not self._due(partition):
            return
        self.health.progressed()
        if reader.newest_ms != NEVER_MS:
            self.metrics.observe_newest(partition, reader.newest_ms)
        end = high()
        if end >= 0:
            self.metrics.observe_lag(topic, partition, max(0, end - reader.next_offset))
        if self._due("tallies"):
            self._tell_tallies()

    def note_broker_error(self, kind: str) -> None:
        """The broker's client told an error that waiting may mend."""
        self.metrics.observe_broker_error(kind)
        self.health.waiting_for_broker(kind)

    def note_version(self, report: Report) -> None:
        """A slide went through the engine."""
        self.health.progressed()

    def note_commit(self, report: Report, seconds: float, open_slides: int) -> None:
        """A slide was committed so many seconds after it was complete."""
        self.health.progressed()
        if not report.absorbed:
            self.metrics.observe_commit(report.version, seconds, time.time_ns() // 1_000_000, report.update_rejected)
        self.metrics.observe_open_slides(open_slides)

    def watch(self, part: str, folder: Path) -> None:
        """Show how full the disk of a folder is."""
        self.metrics.watch_disk(part, folder)

    def _tell_tallies(self) -> None:
        part = self.ledger.part()
        used = sum(totals.used for totals in part.shards.values())
        duplicate = part.duplicate + sum(totals.duplicate for totals in part.shards.values())
        pending = sum(totals.pending for totals in part.shards.values())
        self.metrics.observe_tallies(part.read, used, part.late, duplicate, part.dead, pending)
        self.metrics.observe_open_slides(max((window.open_slides for window in self.ledger.windows), default=0))

    def _due(self, what: int | str) -> bool:
        now = time.monotonic()
        if now - self._told_at.get(what, 0.0) < _TELL_EVERY_S:
            return False
        self._told_at[what] = now
        return True
