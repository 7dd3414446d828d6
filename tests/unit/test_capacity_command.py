"""`dynmm bench capacity` on a tiny grid: JSON on stdout, and the promised exit codes."""

import json
from pathlib import Path

import pytest

from benchmarks.capacity import job, points
from benchmarks.capacity.load import Load
from dynmm_core.cli import main

RESULTS = Path(__file__).parents[2] / "benchmarks/results"
TINY = ("--results", str(RESULTS), "--share", "0.01", "--runs", "1")


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run here: starting processes is what takes long on a tiny grid."""
    monkeypatch.setattr(points, "run_job", job.run_load)


def run(*arguments: str) -> int:
    try:
        main(["bench", "capacity", *arguments])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


@pytest.mark.parametrize("form", ["json", "arrow"])
def test_a_load_is_measured_in_a_process_of_its_own(form: str) -> None:
    (found,) = (one for one in points.measure_load(Load(10, 50, 100, 300_000, batch_rows=1_000), 1) if one.form == form)
    assert 0 < found.close_seconds < found.cpu_seconds
    assert found.peak_bytes >= found.base_bytes > 10 << 20
    assert (found.exchange_seconds > 0) == (form == "arrow")


def test_a_tiny_grid_prints_one_document(in_this_process: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TINY, "--tolerance", "1000", "--json") == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert shown.err == ""
    assert len(document["checks"]) == 6 and document["passed"] is True
    assert {(need["load"]["rate"], need["form"]) for need in document["sizing"]} == {
        (rate, form) for rate in (10_000, 1_000_000) for form in ("json", "arrow")
    }
    assert set(document["margins"]) == {"json", "arrow"} and min(document["margins"].values()) >= 1
    for one in [*document["checks"], *document["far"]]:
        figure = one["cpu_seconds"]
        assert figure["error"] == pytest.approx(figure["predicted"] / figure["measured"] - 1)


def test_a_prediction_that_is_off_ends_with_3_behind_its_tables(
    in_this_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*TINY, "--tolerance", "1e-9") == 3
    shown = capsys.readouterr()
    assert "cpu_seconds predicted" in shown.err
    assert "processes" in shown.out and "not fitted" in shown.out


@pytest.mark.parametrize(
    ("option", "value"),
    [("--share", "0"), ("--share", "2"), ("--runs", "0"), ("--tolerance", "-1"), ("--tolerance", "nan"), ("--utilisation", "1.5"),
     ("--seed", "-1"), ("--results", "no-such-folder")],
)  # fmt: skip
def test_a_wrong_option_is_named(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(option, value) == 2
    shown = capsys.readouterr().err
    assert option in shown and shown.count("\n") == 1
