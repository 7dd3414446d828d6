"""What a scrape shows: only what was told, totals that never go back, figures of one moment."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flows.observe.collectors import OUTCOMES, EventTotals, PutGauge, StateSizes
from flows.observe.health import State
from flows.observe.metrics import FlowMetrics

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(metrics: FlowMetrics) -> Samples:
    text = generate_latest(metrics.registry).decode()
    families = text_string_to_metric_families(text)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


def value(metrics: FlowMetrics, name: str, **labels: str) -> float | None:
    return scraped(metrics).get((name, frozenset(labels.items())))


@pytest.fixture
def metrics() -> FlowMetrics:
    return FlowMetrics("live", "summarize", 1, clock=lambda: 1_000.5)


def test_every_setter_shows_its_number(metrics: FlowMetrics) -> None:
    metrics.observe_tallies(read=100, used=80, late=7, duplicate=3, dead=4, pending=6)
    metrics.observe_lag("interactions", 2, 17)
    metrics.observe_newest(2, 990_000)
    metrics.observe_open_slides(3)
    metrics.observe_slide_length(900_000)
    metrics.observe_adapt_lag(2, 969_000)
    metrics.observe_commit(version=41, seconds=0.7, at_ms=999_250)
    metrics.observe_commit(version=42, seconds=3.0, at_ms=1_000_250, rejected=True)
    metrics.observe_epoch()
    metrics.observe_broker_error("_TRANSPORT")
    metrics.observe_context("region", 0.75)
    metrics.watch_drift("kswin", "ndcg")
    metrics.observe_drift_signal("ndcg", 0.125)
    metrics.observe_drift_alarm("adwin", "ndcg")
    metrics.observe_health(State.WAITING_FOR_BROKER)
    expected = {
        ("dynmm_events_total", "outcome", "read"): 100,
        ("dynmm_events_total", "outcome", "used"): 80,
        ("dynmm_events_total", "outcome", "late"): 7,
        ("dynmm_events_total", "outcome", "duplicate"): 3,
        ("dynmm_events_total", "outcome", "dead"): 4,
        ("dynmm_events_pending",): 6,
        ("dynmm_watermark_delay_seconds", "partition", "2"): 10.5,
        ("dynmm_context_known_ratio", "column", "region"): 0.75,
        ("dynmm_drift_signal", "signal", "ndcg"): 0.125,
        ("dynmm_open_slides",): 3,
        ("dynmm_slide_seconds",): 900,
        ("dynmm_adapt_lag_slides",): 2,
        ("dynmm_adapt_lag_seconds",): 31.5,
        ("dynmm_slide_commit_seconds_count",): 2,
        ("dynmm_slide_commit_seconds_sum",): 3.7,
        ("dynmm_slide_commit_seconds_bucket", "le", "1.0"): 1,
        ("dynmm_versions_total",): 2,
        ("dynmm_update_rejected_total",): 1,
        ("dynmm_store_version",): 42,
        ("dynmm_last_commit_timestamp_seconds",): 1_000.25,
        ("dynmm_epochs_total",): 1,
        ("dynmm_broker_errors_total", "kind", "_TRANSPORT"): 1,
        ("dynmm_health_state", "dynmm_health_state", "waiting_for_broker"): 1,
        ("dynmm_health_state", "dynmm_health_state", "running"): 0,
    }
    shown = scraped(metrics)
    for (name, *label), number in expected.items():
        labels = frozenset([(label[0], label[1])]) if label else frozenset()
        assert shown[name, labels] == pytest.approx(number), name
    assert value(metrics, "dynmm_consumer_lag_messages", topic="interactions", partition="2") == 17
    assert value(metrics, "dynmm_drift_alarms_total", detector="adwin", signal="ndcg") == 1
    assert value(metrics, "dynmm_drift_alarms_total", detector="kswin", signal="ndcg") == 0
    assert value(metrics, "dynmm_up_info", run="live", flow="summarize", process="1") == 1


def test_what_was_never_told_is_not_shown_as_zero(metrics: FlowMetrics) -> None:
    told = {name for name, _ in scraped(metrics)}
    silent = (
        "events_total",
        "events_pending",
        "store_version",
        "last_commit_timestamp_seconds",
        "adapt_lag_slides",
        "open_slides",
    )
    assert not told & {f"dynmm_{name}" for name in silent}
    assert "dynmm_versions_total" in told  # an increase can be seen only from a zero before it


def test_the_list_of_names_holds_whatever_a_scrape_shows(metrics: FlowMetrics, tmp_path: Path) -> None:
    metrics.watch_disk("store", tmp_path)
    test_every_setter_shows_its_number(metrics)
    shown = {name for name, _ in scraped(metrics) if not name.endswith("_created")}
    names = metrics.sample_names()
    assert shown == names
    assert all(name.startswith("dynmm_") for name in names)


@given(st.lists(st.lists(st.integers(0, 50), min_size=5, max_size=5), min_size=1, max_size=20))
def test_totals_are_the_largest_told_so_far(steps: list[list[int]]) -> None:
    totals = EventTotals()
    largest = [0] * 5
    for step in steps:
        totals.put(dict(zip(OUTCOMES, step, strict=True)), pending=step[0])
        counter, pending = totals.collect()
        largest = [max(pair) for pair in zip(largest, step, strict=True)]
        assert [sample.value for sample in counter.samples] == largest
        assert [sample.value for sample in pending.samples] == [step[0]]


def test_a_scrape_between_two_batches_always_closes() -> None:
    """Totals and pending are of one moment: read = used + late + duplicate + dead + pending at every scrape."""
    totals, stop = EventTotals(), threading.Event()

    def count() -> None:
        step = 0
        while not stop.is_set():
            step += 1
            totals.put({"read": 5 * step, "used": step, "late": step, "duplicate": step, "dead": step}, pending=step)

    writer = threading.Thread(target=count)
    writer.start()
    try:
        for _ in range(2_000):
            counter, pending = totals.collect()
            shown = {sample.labels["outcome"]: sample.value for sample in counter.samples}
            if shown:
                assert shown.pop("read") == sum(shown.values()) + pending.samples[0].value
    finally:
        stop.set()
        writer.join()


def test_the_delay_of_a_silent_partition_grows_by_itself() -> None:
    now = [100.0]
    metrics = FlowMetrics("live", "summarize", clock=lambda: now[0])
    metrics.observe_newest(0, 90_000)
    assert value(metrics, "dynmm_watermark_delay_seconds", partition="0") == 10
    now[0] = 160.0
    assert value(metrics, "dynmm_watermark_delay_seconds", partition="0") == 70


def test_disk_space_is_that_of_the_folder_and_a_missing_folder_hides_nothing_else(metrics: FlowMetrics, tmp_path: Path) -> None:
    metrics.watch_disk("store", tmp_path)
    metrics.watch_disk("recovery", tmp_path / "not" / "yet")
    free, size = (value(metrics, f"dynmm_disk_{word}_bytes", part="store") for word in ("free", "size"))
    assert free is not None and size is not None and 0 < free <= size
    assert value(metrics, "dynmm_disk_size_bytes", part="recovery") is None


def test_the_age_of_a_waiting_slide_grows_by_itself() -> None:
    now = [100.0]
    metrics = FlowMetrics("live", "adapt", clock=lambda: now[0])
    assert value(metrics, "dynmm_adapt_lag_seconds") is None
    metrics.observe_adapt_lag(3, 90_000)
    assert (value(metrics, "dynmm_adapt_lag_slides"), value(metrics, "dynmm_adapt_lag_seconds")) == (3, 10)
    now[0] = 130.0
    assert value(metrics, "dynmm_adapt_lag_seconds") == 40
    metrics.observe_adapt_lag(0, None)
    assert (value(metrics, "dynmm_adapt_lag_slides"), value(metrics, "dynmm_adapt_lag_seconds")) == (0, 0)


def test_folders_are_measured_whole_and_seldom(tmp_path: Path) -> None:
    now = [0.0]
    sizes = StateSizes(lambda: now[0])
    sizes.watch("journal", tmp_path)
    sizes.watch("store", tmp_path / "not" / "yet")

    def shown() -> dict[str, float]:
        (family,) = sizes.collect()
        return {sample.labels["part"]: sample.value for sample in family.samples}

    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "slide").write_bytes(b"x" * 1_000)
    (tmp_path / "newest").write_bytes(b"x" * 24)
    first = shown()
    assert first["journal"] == 1_024 and first["memory"] >= 0 and "store" not in first
    (tmp_path / "newest").unlink()
    now[0] = 9.0
    assert shown()["journal"] == 1_024
    now[0] = 10.0
    assert shown()["journal"] == 1_000
    (tmp_path / "not" / "yet").mkdir(parents=True)
    assert shown()["store"] == 0


def test_what_is_told_at_a_scrape_is_told_at_every_scrape(metrics: FlowMetrics) -> None:
    asked = []
    metrics.at_scrape(lambda: asked.append(1))
    metrics.refresh()
    metrics.refresh()
    assert len(asked) == 2


def test_a_rollback_may_lower_the_store_version(metrics: FlowMetrics) -> None:
    metrics.observe_commit(version=9, seconds=1, at_ms=5_000)
    metrics.observe_head(version=4, at_ms=2_000)
    assert value(metrics, "dynmm_store_version") == 4
    assert value(metrics, "dynmm_versions_total") == 1


def test_an_empty_store_has_no_version_and_waits_since_the_start(metrics: FlowMetrics) -> None:
    metrics.observe_head(version=None, at_ms=7_000)
    assert value(metrics, "dynmm_store_version") is None
    assert value(metrics, "dynmm_last_commit_timestamp_seconds") == 7


def test_processes_in_one_interpreter_share_nothing(metrics: FlowMetrics) -> None:
    other = FlowMetrics("other", "adapt")
    metrics.observe_epoch()
    assert (value(metrics, "dynmm_epochs_total"), value(other, "dynmm_epochs_total")) == (1, 0)
    assert not any(family.name.startswith("dynmm_") for family in REGISTRY.collect())


def test_a_value_without_its_labels_is_a_bug_that_shows() -> None:
    with pytest.raises(ValueError, match="dynmm_lag"):
        PutGauge("dynmm_lag", "A lag", "topic", "partition").put(1, "interactions")
