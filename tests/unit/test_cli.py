"""The command line: instant help, one clear line for a wrong request, the promised exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from dynmm_core.cli import app, main
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.errors import CheckFailed, UserError
from simulators.made import write_stream
from simulators.settings import StreamSettings

HEAVY = ("torch", "duckdb", "pyarrow", "bytewax", "deltalake", "numpy")


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys; from dynmm_core.cli import app; app(['--help'], result_action='return_value')\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
    assert "Replay the last 30 %" in done.stdout and "Train the frozen base" in done.stdout


@pytest.mark.parametrize("group", [[], ["data"], ["store"], ["bench"], ["flow"], ["flow", "run"]])
def test_every_command_is_listed_with_what_it_does(group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    listed = app
    for name in group:
        listed = listed[name]
    names = [name for name in listed._commands if not name.startswith("-")]
    assert exit_code(*group, "--help") == 0
    lines = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    assert names
    for name in names:
        assert any(line.startswith(f"{name} ") and len(line.split()) > 3 for line in lines), name


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


@pytest.mark.parametrize(("option", "value"), [("--threads", "0"), ("--seed", "-1"), ("--device", "abacus")])
def test_an_impossible_option_of_pretrain_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    write_stream(tmp_path / "raw", StreamSettings(events=2_000, users=50, items=60, online_hours=6))
    prepare_folder(tmp_path / "raw", tmp_path / "data", Options())
    assert exit_code("pretrain", str(tmp_path / "data"), "--out", str(tmp_path / "b"), option, value) == 2
    shown = capsys.readouterr().err
    assert option in shown and value in shown and shown.count("\n") == 1


def test_times_that_tell_nothing_apart_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"u{n % 50},i{n % 70},1700000000000\n" for n in range(3_000))
    (tmp_path / "raw").mkdir()
    # Without ids, wholly identical rows would be one event.
    numbered = "".join(f"e{n},{line}\n" for n, line in enumerate(rows.splitlines()))
    (tmp_path / "raw/interactions.csv").write_text("event_id,user_id,item_id,timestamp\n" + numbered)
    prepare_folder(tmp_path / "raw", tmp_path / "data", Options())
    assert exit_code("pretrain", str(tmp_path / "data"), "--out", str(tmp_path / "b")) == 2
    assert "times that tell events apart" in capsys.readouterr().err


def test_a_path_through_a_file_is_a_user_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert exit_code("simulate", "--out", str(tmp_path / "file/out"), "--events", "2000", "--users", "50") == 2
    assert "Not a directory" in capsys.readouterr().err


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
