"""Adapt on Kafka: every version remembers where reading goes on behind it, and is announced."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from dynmm_core.crash_points import crash_point
from dynmm_core.metrics.drift.facts import SIGNALS
from dynmm_core.metrics.drift.watch import watched_by
from dynmm_core.store.latents import LatentStore
from dynmm_core.windows.buckets import BUCKET_KEYS
from dynmm_core.windows.clock import DRAINED_MS
from dynmm_core.windows.messages import EndMarker
from dynmm_core.windows.positions import MarkerPositions
from dynmm_core.windows.slides import Slide, SlideAssembler
from flows.items import SummaryItem
from flows.kafka.plan import FlowPlan
from flows.kafka.process import LiveProcess
from flows.kafka.sinks import TopicWriter
from flows.kafka.wire import Record
from flows.live.config import LiveConfig
from flows.live.recovery import RecoveryFolder
from flows.logics import Adapt
from flows.process import Report


class Announcer:
    """Tells on the versions topic which version is the head of which store."""

    def __init__(self, config: LiveConfig, process: LiveProcess) -> None:
        assert config.adapt is not None
        self._config, self._process = config, process
        self._store = config.adapt.run_dir / "store"
        self._writer: TopicWriter | None = None

    def announce(self, run: str, version: int, slide_end_ms: int, content_hash: str) -> None:
        """Announce a version; the broker has it when this returns."""
        if self._writer is None:
            self._writer = TopicWriter(self._config.kafka, self._config.kafka.versions, self._process)
        document = {
            "run": run, "version": version, "slide_end_ms": slide_end_ms, "content_hash": content_hash,
            "store": str(self._store),
        }  # fmt: skip
        self._writer.write(Record(run.encode(), orjson.dumps(document), [("schema_version", b"1")]))
        self._writer.flush()

    def announce_head(self) -> None:
        """Show the store's head and announce it again: the last announcement may have been lost with the process."""
        head, run = None, None
        if (self._store / "latents" / "_delta_log").is_dir():
            store = LatentStore.open(self._store)
            head, rollbacks = store.head(), store.rollbacks()
            run = rollbacks[-1].run if rollbacks else None
        self._process.metrics.observe_adapt_lag(0, None)
        if head is None:
            self._process.metrics.observe_head(None, _now_ms())
            return
        self._process.metrics.observe_head(head.number, head.committed_at_ms)
        self.announce(run or self._config.stream.run, head.number, head.slide_end_ms, head.content_hash)


class LiveAdapt(Adapt):
    """Adapt whose versions name the offsets behind them, and are announced. The engine is opened with the first message.

    ``folder`` holds what end markers name and learns which slides have versions; None where markers of a topic count.
    """

    def __init__(
        self, config: LiveConfig, plan: FlowPlan, assembler: SlideAssembler, process: LiveProcess,
        folder: RecoveryFolder | None,
    ) -> None:  # fmt: skip
        assert config.adapt is not None
        super().__init__(config.engine, config.adapt, assembler, process, lambda: process.note_version)
        self._topic_ids, self._live, self._folder = plan.topic_ids, process, folder
        self._positions = None if plan.summaries is None else MarkerPositions(plan.summaries.offsets)
        self._announcer = Announcer(config, process)
        self._waiting: deque[tuple[Slide, int]] = deque()  # with the moment at which it closed, ms UTC
        process.open_slides = lambda: assembler.open_slides
        for signal in SIGNALS:
            for detector in watched_by(signal, config.adapt.detectors):
                process.metrics.watch_drift(detector, signal)

    def take_all(self, items: Sequence[SummaryItem]) -> list[Report]:
        """Take in messages; the slides that they complete are committed and announced when this returns.

        Where the process is to stop, slides that were not begun are left: they are read again.
        """
        self.open()
        try:
            for item in items:
                self._note_position(item)
                closed_ms = item.written_ms or _now_ms()
                self._waiting += [(slide, closed_ms) for slide in self._assembler.add(item.message)]
        finally:  # what was complete before a message that contradicts is so still
            reports = self._work_off()
        if self._assembler.closed_through_ms == DRAINED_MS:
            self._process.stopping = True  # the run has ended: nothing more will come
        return reports

    def _note_position(self, item: SummaryItem) -> None:
        if self._positions is not None and isinstance(item.message, EndMarker):
            assert item.partition is not None and item.offset is not None
            self._positions.note(item.message.shard, item.message.slide_end_ms, item.partition, item.offset)

    def _work_off(self) -> list[Report]:
        if not self._waiting:
            return []
        reports = []
        while self._waiting and not self._process.stopping:
            slide, closed_ms = self._waiting[0]
            self._live.note_waiting(len(self._waiting), closed_ms)
            reports.append(self._on_slide(slide))
            self._live.note_commit(reports[-1], closed_ms)
            if self._folder is not None:
                for shard in BUCKET_KEYS:
                    self._folder.note_told(shard, slide.slide_end_ms)
            self._waiting.popleft()
        self._live.note_waiting(len(self._waiting), self._waiting[0][1] if self._waiting else None)
        return reports

    def _on_slide(self, slide: Slide) -> Report:
        resume: dict[str, Any] = {"interactions": slide.resume, "topic_ids": self._topic_ids}
        if self._positions is not None:
            resume["summaries"] = {str(part): offset for part, offset in self._positions.behind(slide.slide_end_ms).items()}
        report = super()._on_slide(replace(slide, resume=resume))
        if not report.absorbed:
            self._announcer.announce(self._engine.run_name, report.version, report.slide_end_ms, report.content_hash)
            crash_point("after-announcement")
        return report


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
