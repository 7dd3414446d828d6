"""Results go to stdout, progress to stderr, and nobody is shown a bar who cannot see one."""

import json

import numpy as np
import pytest

from dynmm_core.console import print_json, print_table, progress


def test_progress_is_silent_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("working", 3) as bar:
        bar.advance()
        bar.advance(2, speed="fast")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_progress_draws_on_stderr_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress("working", 3) as bar:
        bar.advance(3, speed="fast")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "working" in shown.err and "fast" in shown.err


def test_a_table_in_a_pipe_folds_no_figure(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["model", *(f"METRIC@{k}" for k in range(9))], [["window_popularity", *["12.34"] * 9]], title="t")
    shown = capsys.readouterr()
    assert shown.err == ""
    assert any("window_popularity" in line and line.count("12.34") == 9 for line in shown.out.splitlines())


def test_json_is_one_document_with_numpy_values(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"n": np.int64(3), "values": np.array([1.5])})
    assert json.loads(capsys.readouterr().out) == {"n": 3, "values": [1.5]}
