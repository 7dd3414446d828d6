"""One process of a dataflow on Kafka: what its steps tell is shown outside as metrics, health and logs."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from confluent_kafka import KafkaError

from dynmm_core.windows.clock import NEVER_MS
from dynmm_core.windows.partition import PartitionReader
from flows.accounts import ShardTotals
from flows.memory import give_back
from flows.observe.health import Health
from flows.observe.logs import get_logger
from flows.observe.metrics import FlowMetrics
from flows.process import FlowProcess, Report, Result, Value

_TELL_EVERY_S, _ASK_EVERY_S, _LOG_EVERY_S = 1.0, 2.0, 30.0
_SCRAPE_WAIT_S, _GIVE_BACK_S = 0.2, 5.0
Ends = Callable[[], dict[int, int] | None]
AskEnd = Callable[[bool], int]
log = get_logger()


class LiveProcess(FlowProcess):
    """Shared state of the steps of one process on Kafka.

    Args:
        metrics, health: where to show what the steps tell; ends: the offsets at which partitions end, None while nobody knows;
        needs_timestamps: whether events need the broker's time; resumed: totals of the buckets where the run goes on.
    """

    def __init__(
        self, number: int, on_failure: Callable[[BaseException], None] | None, metrics: FlowMetrics, health: Health,
        ends: Ends = lambda: None, needs_timestamps: bool = False, resumed: Mapping[str, ShardTotals] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(number, on_failure)
        self.metrics, self.health = metrics, health
        self.ends, self.needs_timestamps = ends, needs_timestamps
        self.open_slides: Callable[[], int] = lambda: 0
        self.broker_errors = 0  # so that an outage that is over again has not passed unseen
        self._resumed = dict(resumed or {})
        self._told_at: dict[str, float] = {}
        self._offsets: dict[str, int] = {}
        self._epoch_part: str | None = None
        # Held by a step and by a scrape, so that a scrape never counts an event in the middle of a step.
        self._stepping = threading.RLock()
        metrics.at_scrape(self._tell_tallies)

    def guarded(self, step: Callable[[Value], list[Result]]) -> Callable[[Value], list[Result]]:
        """The step, answering nothing once anything has failed; no scrape counts while it runs."""
        guarded = super().guarded(step)

        def run_step(value: Value) -> list[Result]:
            with self._stepping:
                return guarded(value)

        return run_step

    def fail(self, error: BaseException) -> None:
        """Note a failure; only the first counts."""
        reason = f"{type(error).__name__}: {error}"
        if self.failure is None:
            log.error("flow_failing", reason=reason)
        self.health.failing(reason)
        super().fail(error)

    def note_partition(
        self, topic: str, partition: int, reader: PartitionReader, ask_end: AskEnd, held: bool = False
    ) -> None:  # fmt: skip
        """A partition of events was read; see :meth:`note_reading`."""
        if reader.newest_ms != NEVER_MS:
            self.metrics.observe_newest(partition, reader.newest_ms)
        if reader.finished:
            self._told_at.pop(f"{topic}/{partition}", None)  # its last word is heard in any case
        self.note_reading(topic, partition, reader.next_offset, ask_end, held or reader.finished)

    def note_reading(self, topic: str, partition: int, next_offset: int, ask_end: AskEnd, resting: bool = False) -> None:
        """A partition was read up to ``next_offset``.

        ``ask_end`` tells the offset behind its newest message, negative where unknown; with True it asks the broker itself.
        ``resting``: it is not to read on now.
        """
        part = f"{topic}/{partition}"
        if not self._due(part, _TELL_EVERY_S):
            return
        if not self.health.waiting:
            end = ask_end(False)
        elif self._due("ask", _ASK_EVERY_S) and (end := ask_end(True)) >= 0:
            self.note_answer()
        else:
            return
        behind = max(0, end - next_offset)
        if end >= 0:
            self.metrics.observe_lag(topic, partition, behind)
        moved, self._offsets[part] = self._offsets.get(part) != next_offset, next_offset
        if moved:
            self.health.progressed(part, 0 if resting else behind)
        else:
            self.health.looked(part, 0 if resting else behind)

    def note_broker_error(self, kind: str) -> None:
        """The broker's client told an error that waiting may mend."""
        self.broker_errors += 1
        self.metrics.observe_broker_error(kind)
        self.health.waiting_for_broker(kind)
        if self._due(kind, _LOG_EVERY_S):
            log.warning("broker_error", kind=kind)

    def note_client_error(self, error: KafkaError) -> None:
        """A consumer told an error that belongs to no message."""
        self.note_broker_error(error.name())

    def note_answer(self) -> None:
        """The broker answered."""
        if self.health.waiting:
            log.info("broker_answers")
            self.health.broker_answers()

    def note_epoch(self, part: str) -> None:
        """A part of a source saw an epoch end; of several parts in this process, one counts."""
        self._epoch_part = self._epoch_part or part
        if part == self._epoch_part:
            self.metrics.observe_epoch()
            if self._due("memory", _GIVE_BACK_S):
                give_back()

    def note_version(self, report: Report) -> None:
        """A slide went through the engine."""

    def note_waiting(self, slides: int, oldest_ms: int | None) -> None:
        """So many complete slides wait for the engine or are in it, the oldest closed at that moment, ms UTC."""
        self.metrics.observe_adapt_lag(slides, oldest_ms)
        self.health.progressed("adapt", slides)

    def note_commit(self, report: Report, closed_ms: int) -> None:
        """A slide that closed at ``closed_ms`` UTC was committed."""
        now_ms = time.time_ns() // 1_000_000
        seconds = max(0, now_ms - closed_ms) / 1000
        if not report.absorbed:
            self.metrics.observe_commit(report.version, seconds, now_ms, report.update_rejected)
            for column, share in report.context_known.items():
                self.metrics.observe_context(column, share)
            self._note_drift(report)
            unknown = [column for column, share in report.context_known.items() if not share]
            if unknown and self._due("context", _LOG_EVERY_S):
                log.warning("context_unknown", slide_end_ms=report.slide_end_ms, columns=unknown)
        log.info(
            "slide_committed", version=report.version, slide_end_ms=report.slide_end_ms, events=report.events,
            seconds=round(seconds, 3), absorbed=report.absorbed, update_rejected=report.update_rejected,
        )  # fmt: skip

    def _note_drift(self, report: Report) -> None:
        for signal, value in report.drift_signals.items():
            self.metrics.observe_drift_signal(signal, value)
        for alarm in report.drift_alarms:
            self.metrics.observe_drift_alarm(alarm.detector, alarm.signal)
            log.warning("drift_suspected", version=report.version, **alarm.to_json())

    def watch(self, part: str, folder: Path) -> None:
        """Show how full the disk of a folder is."""
        self.metrics.watch_disk(part, folder)

    def _tell_tallies(self) -> None:
        if not self._stepping.acquire(timeout=_SCRAPE_WAIT_S):
            return  # a long step: what was told last stands
        try:
            part, windows = self.ledger.part(), list(self.ledger.windows)
            open_slides = max([self.open_slides(), *(window.open_slides for window in windows)])
        finally:
            self._stepping.release()
        self.metrics.observe_open_slides(open_slides)
        if not (self.ledger.readers or windows):
            return  # adapt alone counts no events
        # Nobody knows which process a bucket will wake in: the first tells all that was there, each what has come since.
        base = self._resumed if self.number == 0 else {}
        known = {name: self._resumed.get(name, ShardTotals(used=0, duplicate=0)) for name in part.shards}
        used = sum(one.used for one in base.values()) + sum(one.used - known[name].used for name, one in part.shards.items())
        duplicate = part.duplicate + sum(one.duplicate for one in base.values())
        duplicate += sum(one.duplicate - known[name].duplicate for name, one in part.shards.items())
        pending = sum(one.pending for one in part.shards.values())
        self.metrics.observe_tallies(part.read, used, part.late, duplicate, part.dead, pending)

    def _due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now - self._told_at.get(what, -every_s) < every_s:
            return False
        self._told_at[what] = now
        return True
