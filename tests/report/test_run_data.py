"""A finished run on disk is read as it was written, and what is none is refused."""

from pathlib import Path

import numpy as np
import pytest

from dynmm_core.errors import UserError
from replay.html.run_data import read_run_data, seconds_between
from tests.report.made_run import Plan, made_run, write_run


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    plan = Plan(windows=6, oracle=0.4)
    run, made = read_run_data(write_run(tmp_path / "run", plan)), made_run(plan)

    assert run.models == (*plan.names, "oracle")
    np.testing.assert_array_equal(run.windows.sums, made.windows.sums)
    np.testing.assert_array_equal(run.windows.n, made.windows.n)
    assert run.strata.keys() == made.strata.keys() and "all" not in run.strata
    np.testing.assert_array_equal(run.strata["cold_item"].sums, made.strata["cold_item"].sums)
    assert run.ratios == made.ratios and run.ratios[0].denominator == "sequential_rule"
    assert [commit.rejected for commit in run.commits] == [False, True, False, False, False, False]
    assert [commit.cpu_seconds["update"]["adapted"] for commit in run.commits] == [0.006] * 6
    assert [commit.cpu_seconds["rank"]["adapted"] for commit in run.commits] == [0.012] * 6


def test_the_bytes_of_a_version_are_those_of_its_file(tmp_path: Path) -> None:
    run = read_run_data(write_run(tmp_path / "run", Plan(windows=6)))

    files = {int(file.name[:8]): file.stat().st_size for file in (tmp_path / "run/store/latents").glob("*.parquet")}
    assert set(files) == {0, 4}
    assert [commit.bytes for commit in run.commits] == [files.get(number, 0) for number in range(6)]


def test_what_an_attempt_waited_for_at_its_start_is_no_time_between_commits() -> None:
    assert seconds_between([2_000, 5_000, 91_000, 93_500], [1_000, 6_000, 90_000]) == [None, 3.0, None, 2.5]
    assert seconds_between([], [1_000]) == []


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        read_run_data(tmp_path)
    path = write_run(tmp_path / "run", Plan(windows=2))
    (path / "metrics.json").unlink()
    with pytest.raises(UserError, match="finish it with `dynmm replay`"):
        read_run_data(path)
