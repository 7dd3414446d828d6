"""Adapt on Kafka: every version remembers where reading goes on behind it, and is announced."""

import time
from dataclasses import replace
from typing import Any

import orjson

from dynmm_core.crash_points import crash_point
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
from flows.logics import Adapt
from flows.process import Report


class LiveAdapt(Adapt):
    """Adapt whose versions name the offsets behind them; announces the head at its start, and every version it commits."""

    def __init__(self, config: LiveConfig, plan: FlowPlan, assembler: SlideAssembler, process: LiveProcess) -> None:
        assert config.adapt is not None
        super().__init__(config.engine, config.adapt, assembler, process, lambda: process.note_version)
        self._config, self._topic_ids, self._live = config, plan.topic_ids, process
        self._positions = None if plan.summaries is None else MarkerPositions(plan.summaries.offsets)
        self._announcer: TopicWriter | None = None

    def take(self, item: SummaryItem) -> list[Report]:
        """Take in one message; the slides that it completes are committed and announced when this returns."""
        if self._positions is not None and isinstance(item.message, EndMarker):
            assert item.partition is not None and item.offset is not None
            self._positions.note(item.message.shard, item.message.slide_end_ms, item.partition, item.offset)
        reports = super().take(item)
        if self._assembler.closed_through_ms == DRAINED_MS:
            self._process.stopping = True  # the run has ended: nothing more will come
        return reports

    def open(self) -> Any:
        """The engine; the head is announced again, for the last announcement may have been lost with the process."""
        fresh = self._engine is None
        engine = super().open()
        if fresh and engine.head is not None:
            self._live.metrics.observe_head(engine.head.number, engine.head.committed_at_ms)
            self._announce(engine.head.number, engine.head.slide_end_ms, engine.head.content_hash)
        return engine

    def _on_slide(self, slide: Slide) -> Report:
        closed_at = time.monotonic()
        resume: dict[str, Any] = {"interactions": slide.resume, "topic_ids": self._topic_ids}
        if self._positions is not None:
            resume["summaries"] = {str(part): offset for part, offset in self._positions.behind(slide.slide_end_ms).items()}
        report = super()._on_slide(replace(slide, resume=resume))
        if not report.absorbed:
            self._announce(report.version, report.slide_end_ms, report.content_hash)
            crash_point("after-announcement")
        self._live.note_commit(report, time.monotonic() - closed_at, self._assembler.open_slides)
        return report

    def _announce(self, version: int, slide_end_ms: int, content_hash: str) -> None:
        if self._announcer is None:
            self._announcer = TopicWriter(self._config.kafka, self._config.kafka.versions, self._live)
        run = self._engine.run_name
        document = {
            "run": run, "version": version, "slide_end_ms": slide_end_ms, "content_hash": content_hash,
            "store": str(self._settings.run_dir / "store"),
        }  # fmt: skip
        self._announcer.write(Record(run.encode(), orjson.dumps(document), [("schema_version", b"1")]))
        self._announcer.flush()
