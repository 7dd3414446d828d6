"""Engines without a model: they write down what they are given, fail, or are slow, as the run's name asks."""

import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.errors import UserError
from dynmm_core.windows.slides import Slide


@dataclass(frozen=True)
class FakeReport:
    slide_end_ms: int
    version: int
    content_hash: str
    events: int
    absorbed: bool = False
    update_rejected: bool = False
    context_known: Mapping[str, float] = field(default_factory=dict)
    drift_signals: Mapping[str, float] = field(default_factory=dict)
    drift_alarms: tuple[Any, ...] = ()


class RecordingEngine:
    """Appends one line per slide to ``slides.jsonl`` of the run folder: its bounds, ids and hashes."""

    def __init__(self, settings: AdaptSettings) -> None:
        self._settings = settings
        self._path = Path(settings.run_dir) / "slides.jsonl"
        self._path.unlink(missing_ok=True)
        self._version = 0

    def on_slide(self, slide: Slide) -> FakeReport:
        digest = hashlib.sha256(to_bytes(slide.events) + to_bytes(slide.counts)).hexdigest()
        line = {
            "start": slide.slide_start_ms,
            "end": slide.slide_end_ms,
            "events": slide.events.num_rows,
            "counted": sum(slide.counts["events"].to_pylist()),
            "digest": digest,
            "duplicates": slide.duplicates,
        }
        with self._path.open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        self._version += 1
        return FakeReport(slide.slide_end_ms, self._version, digest, slide.events.num_rows)


class FailingEngine(RecordingEngine):
    def on_slide(self, slide: Slide) -> FakeReport:
        if self._version == 3:
            raise UserError("slide_end_ms: the third slide is refused; give another")
        return super().on_slide(slide)


class BrokenEngine(RecordingEngine):
    def on_slide(self, slide: Slide) -> FakeReport:
        raise KeyError("nothing")


class SlowEngine(RecordingEngine):
    def on_slide(self, slide: Slide) -> FakeReport:
        time.sleep(0.3)
        return super().on_slide(slide)


class KilledEngine(RecordingEngine):
    def on_slide(self, slide: Slide) -> FakeReport:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


def to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def open_engine(settings: AdaptSettings) -> RecordingEngine:
    return RecordingEngine(settings)


def open_failing(settings: AdaptSettings) -> FailingEngine:
    return FailingEngine(settings)


def open_broken(settings: AdaptSettings) -> BrokenEngine:
    return BrokenEngine(settings)


def open_slow(settings: AdaptSettings) -> SlowEngine:
    return SlowEngine(settings)


def open_killed(settings: AdaptSettings) -> KilledEngine:
    return KilledEngine(settings)
