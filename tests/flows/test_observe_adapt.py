"""What adapt shows of slides that wait: from the moment at which they closed, however long the engine lets them wait."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.metrics.drift.watch import Alarm
from dynmm_core.windows.clock import DRAINED_MS, NEVER_MS
from dynmm_core.windows.slides import Slide, SlideConflict
from flows.items import SummaryItem
from flows.kafka.plan import FlowPlan
from flows.kafka.process import LiveProcess
from flows.kafka.settings import KafkaSettings
from flows.live.adapting import Announcer, LiveAdapt
from flows.live.config import LiveConfig, StreamSettings
from flows.live.recovery import RecoveryFolder
from flows.observe.health import Health
from flows.observe.metrics import FlowMetrics

SLIDE_MS = 900_000


class Assembler:
    """Completes the slides that a message names; ``None`` contradicts."""

    open_slides, closed_through_ms = 2, NEVER_MS

    def add(self, ends_ms: list[int] | None) -> list[Slide]:
        if ends_ms is None:
            raise SlideConflict("shard: it came twice")
        return [Slide(end_ms - SLIDE_MS, end_ms, None, None, 0, resume={}) for end_ms in ends_ms]  # type: ignore[arg-type]


class Engine:
    """Says whom it saw at which state of the metrics."""

    run_name = "live"

    def __init__(self, look: Callable[[], tuple[float | None, float | None]]) -> None:
        self.look, self.seen = look, []  # type: ignore[var-annotated]
        self.before: Callable[[], None] = lambda: None
        self.known: dict[str, float] = {}
        self.signals: dict[str, float] = {}
        self.alarms: tuple[Alarm, ...] = ()

    def on_slide(self, slide: Slide) -> Any:
        self.before()
        self.seen.append((slide.slide_end_ms, self.look()[0]))
        return SimpleNamespace(
            slide_end_ms=slide.slide_end_ms, version=len(self.seen), content_hash="", events=3, absorbed=False,
            update_rejected=False, context_known=self.known,
            drift_signals=self.signals, drift_alarms=self.alarms,
        )  # fmt: skip


@pytest.fixture
def process() -> LiveProcess:
    return LiveProcess(0, None, FlowMetrics("live", "adapt"), Health(stalled_after_s=60))


def value(process: LiveProcess, name: str) -> float | None:
    families = text_string_to_metric_families(generate_latest(process.metrics.registry).decode())
    return next((sample.value for family in families for sample in family.samples if sample.name == name), None)


def samples(process: LiveProcess, name: str) -> dict[tuple[str, ...], float]:
    """Every sample of a metric by the values of its labels, in the order of their names."""
    families = text_string_to_metric_families(generate_latest(process.metrics.registry).decode())
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


@pytest.fixture
def engine(process: LiveProcess) -> Engine:
    return Engine(lambda: (value(process, "dynmm_adapt_lag_slides"), value(process, "dynmm_adapt_lag_seconds")))


@pytest.fixture
def opened() -> list[int]:
    return []


@pytest.fixture
def adapt(
    process: LiveProcess, engine: Engine, opened: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LiveAdapt:  # fmt: skip
    def open_engine(settings: AdaptSettings) -> Engine:
        opened.append(1)
        return engine

    monkeypatch.setitem(sys.modules, "engine_of_a_test", SimpleNamespace(open_engine=open_engine))
    monkeypatch.setattr(Announcer, "announce", lambda *told: None)
    config = LiveConfig(
        kind="all", kafka=KafkaSettings(bootstrap="nowhere:1"), stream=StreamSettings(slide_ms=SLIDE_MS), recovery=tmp_path,
        adapt=AdaptSettings(bundle=tmp_path, run_dir=tmp_path, config_hash="test", slide_ms=SLIDE_MS),
        engine="engine_of_a_test:open_engine",
    )  # fmt: skip
    return LiveAdapt(config, FlowPlan(), Assembler(), process, RecoveryFolder(tmp_path / "recovery"))  # type: ignore[arg-type]


def item(*slides: int, ago_s: float = 0) -> SummaryItem:
    """A message that completes the slides with these numbers, made so many seconds ago."""
    ends: Any = [number * SLIDE_MS for number in slides]
    return SummaryItem(ends, written_ms=int((time.time() - ago_s) * 1000))


def test_the_engine_is_opened_with_the_first_message_complete_or_not(adapt: LiveAdapt, opened: list[int]) -> None:
    assert adapt.take_all([item()]) == [] and opened == [1]
    adapt.take_all([item(1)])
    assert opened == [1]


def test_slides_that_wait_behind_another_are_counted(adapt: LiveAdapt, engine: Engine, process: LiveProcess) -> None:
    reports = adapt.take_all([item(1), item(2, 3), item()])
    assert [report.slide_end_ms for report in reports] == [SLIDE_MS, 2 * SLIDE_MS, 3 * SLIDE_MS]
    assert engine.seen == [(SLIDE_MS, 3), (2 * SLIDE_MS, 2), (3 * SLIDE_MS, 1)]
    assert engine.look() == (0, 0)


def test_the_time_to_the_commit_begins_where_the_slide_closed(adapt: LiveAdapt, process: LiveProcess) -> None:
    adapt.take_all([item(1, ago_s=1_000), item(2, ago_s=100)])
    took_s = value(process, "dynmm_slide_commit_seconds_sum")
    assert took_s is not None and 1_100 <= took_s < 1_160
    adapt.take_all([item(3, ago_s=-50)])  # the other machine's clock is ahead
    assert value(process, "dynmm_slide_commit_seconds_sum") == pytest.approx(took_s)


def test_context_that_nobody_sends_is_shown_and_told(adapt: LiveAdapt, engine: Engine, process: LiveProcess) -> None:
    with structlog.testing.capture_logs() as told:
        adapt.take_all([item(1)])
        engine.known = {"region": 0.25}
        adapt.take_all([item(2)])
        assert value(process, "dynmm_context_known_ratio") == 0.25
        engine.known = {"region": 0.0}
        adapt.take_all([item(3), item(4)])
    assert value(process, "dynmm_context_known_ratio") == 0
    (warned,) = [line for line in told if line["log_level"] == "warning"]
    assert (warned["event"], warned["columns"], warned["slide_end_ms"]) == ("context_unknown", ["region"], 3 * SLIDE_MS)


def test_suspected_drift_is_counted_and_told(adapt: LiveAdapt, engine: Engine, process: LiveProcess) -> None:
    counted = {("adwin", "ndcg"): 0.0, ("page_hinkley", "new_items"): 0.0}
    assert {labels: samples(process, "dynmm_drift_alarms_total")[labels] for labels in counted} == counted
    with structlog.testing.capture_logs() as told:
        adapt.take_all([item(1)])
        engine.signals = {"ndcg": 0.25}
        adapt.take_all([item(2)])
        engine.signals, engine.alarms = {}, (Alarm(3 * SLIDE_MS, "adwin", "ndcg", 0.1, 0.3),)
        adapt.take_all([item(3)])
    assert samples(process, "dynmm_drift_signal") == {("ndcg",): 0.25}
    assert samples(process, "dynmm_drift_alarms_total")["adwin", "ndcg"] == 1
    (warned,) = [line for line in told if line["log_level"] == "warning"]
    facts = {"detector": "adwin", "signal": "ndcg", "value": 0.1, "expected": 0.3, "slide_end_ms": 3 * SLIDE_MS, "version": 3}
    assert warned == {"event": "drift_suspected", "log_level": "warning", **facts}


def test_a_slide_that_does_not_end_is_shown_as_standing_still(adapt: LiveAdapt, engine: Engine, process: LiveProcess) -> None:
    now = [0.0]
    process.health = Health(stalled_after_s=60, monotonic=lambda: now[0])
    told = []

    def hang() -> None:
        now[0] += 61
        told.append((engine.look()[1], process.health.report()))

    engine.before = hang
    adapt.take_all([item(1, ago_s=30), item(2)])
    (waited_s, first), (_, second) = told
    assert waited_s is not None and waited_s >= 30
    assert not first.ok and (first.reason or "").startswith("adapt: 2 behind, no progress for 61 s")
    assert not second.ok and (second.reason or "").startswith("adapt: 1 behind")
    now[0] += 1_000
    assert process.health.report().ok


def test_slides_not_begun_are_left_where_the_process_is_to_stop(adapt: LiveAdapt, engine: Engine, process: LiveProcess) -> None:
    def stop() -> None:
        process.stopping = True

    engine.before = stop
    assert len(adapt.take_all([item(1), item(2)])) == 1
    assert engine.look()[0] == 1
    assert adapt.take_all([item(3)]) == []


def test_what_was_complete_before_a_contradiction_is_committed(adapt: LiveAdapt, engine: Engine) -> None:
    broken: Any = None
    with pytest.raises(SlideConflict):
        adapt.take_all([item(1), SummaryItem(broken), item(2)])
    assert [end_ms for end_ms, _ in engine.seen] == [SLIDE_MS]


def test_a_drained_run_stops_behind_its_last_slide(
    adapt: LiveAdapt, engine: Engine, process: LiveProcess, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(Assembler, "closed_through_ms", DRAINED_MS)
    assert len(adapt.take_all([item(1), item(2)])) == 2
    assert process.stopping
