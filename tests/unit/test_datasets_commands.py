"""The `dynmm data` commands: what a user sees, as a table and as JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dynmm_core.datasets.commands import describe, prepare
from dynmm_core.datasets.prepared import PreparedLog

DAY = 86_400_000
T = 1_700_000_000_000 // DAY * DAY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [f"a,1,{T + DAY},NaN", f"b,2,{T},4", f"b,2,{T},4"]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "interactions.csv").write_text("user_id,item_id,timestamp,rating\n" + "\n".join(rows))
    return tmp_path / "shop"


def test_the_table_shows_what_was_dropped_and_warns_of_whole_days(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    describe(folder)
    shown = capsys.readouterr().out
    for what, value in {
        "rows": "2",
        "rows read": "3",
        "duplicates dropped": "1",
        "ratings absent or NaN": "1",
        "time granularity": "day",
    }.items():
        assert any(what in line and value in line for line in shown.splitlines()), what
    assert "warning: all times are whole days" in shown


def test_json_is_one_document_with_the_same_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    describe(folder, json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["drops"]["duplicates"] == 1
    assert document["figures"]["granularity"] == "day"
    assert len(document["warnings"]) == 1


def test_prepare_says_where_the_log_lies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder.parent / "data"
    prepare(folder, out=out, min_rating=4, name="my shop", json=True)
    document = json.loads(capsys.readouterr().out)
    log = PreparedLog.open(out)
    assert (document["prepared"], document["fingerprint"]) == (str(out), log.fingerprint)
    assert (log.name, log.rows) == ("my shop", 1)
    assert document["drops"]["without_rating"] == 1


def test_the_commands_load_without_duckdb_and_arrow() -> None:
    check = "import sys, dynmm_core.datasets.commands; print({'duckdb', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_opening_a_prepared_log_needs_neither_duckdb_nor_torch() -> None:
    check = "import sys, dynmm_core.datasets.prepared; print({'duckdb', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
