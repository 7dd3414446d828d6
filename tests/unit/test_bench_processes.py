"""A benchmark's commands in processes of their own: what they cost, and how their failures are told."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.processes import run_dynmm
from dynmm_core.errors import UserError


def test_a_command_is_told_by_its_own_cost_and_a_refusal_by_its_last_line(tmp_path: Path) -> None:
    ours = np.ones(400 << 17)  # 400 MiB of the caller's own, which are no cost of the command
    cost = run_dynmm(["simulate", "--list"], tmp_path / "log", threads=1)
    assert cost.cpu_seconds > 0.0 and 20.0 < cost.peak_rss_mb < ours.nbytes / 2**20
    with pytest.raises(UserError, match=r"dynmm simulate --preset nothing: exit 2; --out: missing; .*log\)$") as refused:
        run_dynmm(["simulate", "--preset", "nothing"], tmp_path / "log", threads=1)
    assert "\n" not in str(refused.value)


def test_a_bug_in_a_command_is_no_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "simulators").mkdir()
    (tmp_path / "simulators" / "__init__.py").write_text("raise ZeroDivisionError")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="exit 1; this is a bug of ours"):
        run_dynmm(["simulate", "--list"], tmp_path / "log")
