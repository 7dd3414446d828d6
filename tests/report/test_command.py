"""`dynmm report`: where it writes, what it prints, and what it refuses with exit code 2 and one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dynmm_core.cli import main
from tests.report.made_run import HOUR_MS, Plan, write_run

PLAN = Plan(windows=6, models=(("static", 0.1), ("sequential_rule", 0.2), ("adapted", 0.3)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small runs: a, its slides of 6 h, another seed, another log."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "a", PLAN)
    write_run(folder / "six", replace(PLAN, slide_ms=6 * HOUR_MS))
    write_run(folder / "seed", replace(PLAN, seed=1))
    write_run(folder / "other", replace(PLAN, dataset="other"))
    return folder


def run_report(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["report", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_json_tells_where_the_report_is_and_what_it_says(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_report(runs / "a", "--refresh", runs / "six", "--json") == 0
    told = json.loads(capsys.readouterr().out)

    assert told["report"] == str(runs / "a/report.html")
    assert told["bytes"] == (runs / "a/report.html").stat().st_size
    assert told["headline"].startswith("adapted has 1.")
    assert {"over-time", "strata", "refresh", "cost", "store"} <= set(told["sections"])
    assert run_report(runs / "a", "--out", runs / "mine.html") == 0
    assert "report: " in capsys.readouterr().out and (runs / "mine.html").exists()


def test_a_comparison_lies_in_the_first_run_under_the_name_of_the_second(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_report("--compare", runs / "a", runs / "seed") == 0
    assert (runs / "a/compare-seed.html").exists() and "compare-seed.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "run: missing"),
        (["nowhere"], "nowhere holds no finished run"),
        (["a", "--compare", "a", "seed"], "--compare: takes two runs and neither RUN nor --refresh"),
        (["--compare", "a", "other"], "replay different logs"),
        (["a", "--refresh", "seed"], "seed has seed 1, "),
        (["a", "--refresh", "other"], "other has dataset_fingerprint"),
        (["a", "--refresh", "six", "--refresh", "six"], "as another of these runs"),
        (["a", "--out", "foreign.html"], "foreign.html is no report of dynmm"),
    ],
)
def test_what_cannot_be_reported_is_one_line(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(runs)
    (runs / "foreign.html").write_text("mine")
    before = sorted(path for path in runs.rglob("*.html"))
    assert run_report(*arguments) == 2
    shown = capsys.readouterr()

    assert told in shown.err and shown.err.count("\n") == 1 and shown.out == ""
    assert sorted(path for path in runs.rglob("*.html")) == before and (runs / "foreign.html").read_text() == "mine"
