"""The command line: instant help, one clear line for a wrong request, the promised exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from dynmm_core.cli import main
from dynmm_core.errors import CheckFailed, UserError

HEAVY = ("torch", "duckdb", "pyarrow", "bytewax", "deltalake", "numpy")


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys; from dynmm_core.cli import app; app(['--help'], result_action='return_value')\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
    assert "replay" in done.stdout and "pretrain" in done.stdout


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def test_an_unknown_option_is_a_user_error() -> None:
    assert exit_code("replay", "--no-such-option") == 2


def test_a_missing_folder_is_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("pretrain", str(tmp_path / "nothing"), "--out", str(tmp_path / "bundle")) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1 and "dynmm data prepare" in shown.err
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(("raised", "code"), [(UserError("x"), 2), (CheckFailed("x"), 3), (RuntimeError("x"), 1)])
def test_each_kind_of_error_has_its_exit_code(
    raised: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("dynmm_core.cli.app", failing)
    assert exit_code("anything") == code
    assert ("Traceback" in capsys.readouterr().err) == (code == 1)


@pytest.mark.parametrize("command", [["data", "prepare"], ["pretrain"], ["replay"], ["demo"], ["simulate"], ["store", "sql"]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main_code = subprocess.run(
        [sys.executable, "-m", "dynmm_core.cli", *command, "--help"], capture_output=True, text=True, check=False
    )
    assert main_code.returncode == 0
    assert "Usage" in main_code.stdout
