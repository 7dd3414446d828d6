"""Alarms beside the truth: what is owed to a drift, what is false, and the command that says so."""

import json

import pytest

from benchmarks.detection.matching import ANY, Judged, spans_of
from benchmarks.detection.report import rows_of
from dynmm_core.cli import main
from dynmm_core.metrics.drift.watch import Alarm
from simulators.truth_file import KnownDrift

HOUR_MS = 3_600_000


def drift(start: int, end: int | None) -> KnownDrift:
    return KnownDrift(
        id=str(start), kind="abrupt", start_ms=start * HOUR_MS, end_ms=None if end is None else end * HOUR_MS, magnitude=1.0,
        levels=[], items_affected=0, items=(), users_affected=0, users=(),
    )  # fmt: skip


def alarm(hour: int, detector: str = "adwin", signal: str = "ndcg") -> Alarm:
    """An alarm of the slide that ends with this hour."""
    return Alarm(hour * HOUR_MS, detector, signal, 0.1, 0.3)


def judged(*alarms: Alarm, drifts: tuple[KnownDrift, ...] = (drift(10, 20),)) -> Judged:
    return Judged("a stream", 0, alarms, spans_of(drifts, 72 * HOUR_MS), 72)


@pytest.mark.parametrize(("hour", "delay", "false"), [(10, None, 1), (11, 0, 0), (44, 33, 0), (45, None, 1)])
def test_an_alarm_is_owed_to_a_drift_from_its_first_slide_to_a_day_after_its_end(
    hour: int, delay: int | None, false: int
) -> None:
    score = judged(alarm(hour)).score(ANY, ANY)
    assert score.false_alarms == false
    assert score.delays_ms == (None if delay is None else (delay + 1) * HOUR_MS - 1,)


def test_a_drift_lasts_to_the_next_one_or_to_the_end() -> None:
    spans = spans_of([drift(10, None), drift(30, None)], 72 * HOUR_MS)
    assert [(start // HOUR_MS, until // HOUR_MS) for start, until in spans] == [(10, 30), (30, 72)]


def test_alarms_are_told_by_signal_and_detector_and_those_of_a_slide_are_one() -> None:
    found = judged(alarm(5, "kswin"), alarm(5), alarm(12), alarm(13, "kswin", "item_entropy"))
    rows = {(row["signal"], row["detector"]): row for row in rows_of([found, judged()])}
    assert set(rows) == {(signal, detector) for signal in ("ndcg", "item_entropy", ANY)
                         for detector in ("adwin", "page_hinkley", "kswin", ANY)}  # fmt: skip
    assert rows[ANY, ANY]["false_alarms"] == 1 and rows[ANY, ANY]["slides"] == 144
    assert rows["ndcg", "adwin"]["delays_hours"] == [pytest.approx(2, abs=1e-3), None]
    assert rows["ndcg", "page_hinkley"]["delays_hours"] == [None, None]


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "detection", *arguments])
    assert not stopped.value.code
    return capsys.readouterr().out


def test_an_abrupt_stream_is_suspected_soon_and_a_calm_one_never(capsys: pytest.CaptureFixture[str]) -> None:
    calm_or_not = ("--preset", "abrupt", "--preset", "everyday", "--seeds", "1", "--events", "40000")
    rows = json.loads(shown(capsys, *calm_or_not, "--json"))["rows"]
    found = {(row["stream"], row["signal"], row["detector"]): row for row in rows}
    abrupt, calm = found["abrupt", ANY, ANY], found["everyday", ANY, ANY]
    assert all(delay is not None and delay < 8 for delay in abrupt["delays_hours"]) and abrupt["false_alarms"] == 0
    assert calm["drifts"] == 0 and calm["slides"] == 72 and calm["false_alarms"] == 0


@pytest.mark.parametrize(("arguments", "told"), [
    (["--seeds", "0"], "--seeds: 0 is too small"),
    (["--run", "x"], "--run: goes with --truth"),
    (["--preset", "calm"], "calm"),
    (["--run", "x", "--truth", "y"], "holds no finished run"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "detection", *arguments])
    assert stopped.value.code == 2 and told in capsys.readouterr().err
