"""The prepared log as the rest of the program reads it."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.fingerprint import IDENTITY_COLUMNS, Fingerprint
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import ROW_GROUP_ROWS, PreparedLog
from dynmm_core.errors import UserError

T = 1_700_000_000_000
ROWS = 2 * ROW_GROUP_ROWS + 1000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PreparedLog:
    """A log of two whole row groups and a rest, given in reverse order of time."""
    folder = tmp_path_factory.mktemp("log")
    rows = np.arange(ROWS)[::-1]
    table = pa.table({"user_id": rows % 977, "item_id": rows % 31, "timestamp": T + rows, "n": rows})
    (folder / "in").mkdir()
    pq.write_table(table, folder / "in" / "interactions.parquet")
    prepare_folder(folder / "in", folder / "data", Options())
    return PreparedLog.open(folder / "data")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "interactions.csv").write_text(f"user_id,item_id,timestamp,note\na,1,{T},x\nb,2,{T + 1},y\n")
    prepare_folder(tmp_path / "in", tmp_path / "data", Options())
    return tmp_path / "data"


def test_row_groups_are_whole_and_the_format_is_the_stated_one(log: PreparedLog) -> None:
    metadata = pq.read_metadata(log.interactions_path)
    assert [metadata.row_group(group).num_rows for group in range(3)] == [
        ROW_GROUP_ROWS,
        ROW_GROUP_ROWS,
        1000,
    ]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    types = {field.name: field.type for field in metadata.schema.to_arrow_schema()}
    assert types == {
        "event_id": pa.string(),
        "user_id": pa.string(),
        "item_id": pa.string(),
        "event_time_ms": pa.int64(),
        "n": pa.int64(),
    }


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 0),
        (0, 1),
        (ROW_GROUP_ROWS - 1, ROW_GROUP_ROWS + 1),
        (ROW_GROUP_ROWS, 2 * ROW_GROUP_ROWS),
        (5, ROWS),
        (ROWS, ROWS),
    ],
)
def test_any_range_of_rows_is_read_exactly(log: PreparedLog, start: int, end: int) -> None:
    table = log.read(["n", "event_time_ms"], start, end)
    assert table.column_names == ["n", "event_time_ms"]
    assert np.array_equal(table["n"].to_numpy(), np.arange(start, end))


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, ROWS + 1)])
def test_a_range_outside_the_log_is_an_error(log: PreparedLog, start: int, end: int) -> None:
    with pytest.raises(ValueError, match="do not lie in"):
        log.read(None, start, end)


@pytest.mark.parametrize(("rows", "cut"), [(1, 0), (10, 7), (1_425_015, 997_510), (100_000, 70_000), (575_281, 402_696)])
def test_the_cut_is_the_floor_of_seventy_percent(log: PreparedLog, rows: int, cut: int) -> None:
    assert PreparedLog(**{**log.__dict__, "rows": rows}).cut_row == cut


def test_the_fingerprint_is_that_of_the_rows(log: PreparedLog) -> None:
    assert re.fullmatch("[0-9a-f]{64}", log.fingerprint)
    assert log.compute_fingerprint() == log.fingerprint


def test_the_fingerprint_sees_who_what_when_and_the_id_but_no_other_column(tmp_path: Path) -> None:
    header = "event_id,user_id,item_id,timestamp,note\n"
    lines = {
        "base": f"e1,ab,c,{T},x\n",
        "note": f"e1,ab,c,{T},y\n",
        "shifted": f"e1,a,bc,{T},x\n",
        "time": f"e1,ab,c,{T + 1},x\n",
        "id": f"e2,ab,c,{T},x\n",
    }
    prints = {}
    for name, line in lines.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "interactions.csv").write_text(header + line)
        _, dataset = prepare_folder(tmp_path / name, tmp_path / f"{name}.data", Options())
        prints[name] = dataset.fingerprint
    assert prints["note"] == prints["base"]
    assert len(set(prints.values())) == 4


def test_the_history_s_fingerprint_sees_the_rows_before_the_cut_alone(tmp_path: Path) -> None:
    lines = [f"e{row},u{row % 3},i{row},{T + row}\n" for row in range(10)]
    logs = {}
    for name, changed in {"base": None, "online": 7, "history": 6}.items():
        (tmp_path / name).mkdir()
        other = [line.replace(",u", ",v") if row == changed else line for row, line in enumerate(lines)]
        (tmp_path / name / "interactions.csv").write_text("event_id,user_id,item_id,timestamp\n" + "".join(other))
        prepare_folder(tmp_path / name, tmp_path / f"{name}.data", Options())
        logs[name] = PreparedLog.open(tmp_path / f"{name}.data")
    prints = {name: log.history_fingerprint() for name, log in logs.items()}

    assert prints["online"] == prints["base"] != prints["history"]
    assert logs["online"].fingerprint != logs["base"].fingerprint
    fingerprint = Fingerprint()
    for batch in logs["base"].read(IDENTITY_COLUMNS, 0, 7).to_batches():
        fingerprint.update(batch)
    assert fingerprint.hexdigest() == prints["base"]


def test_a_folder_that_is_no_prepared_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no dataset\.toml.*dynmm data prepare"):
        PreparedLog.open(tmp_path)


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        ("rows = 2", "rows = 3", "rows = 3 but the table has 2"),
        ("users = 2", "users = 1", "users = 1 but the table has 2"),
        ('granularity = "ms"', 'granularity = "day"', "granularity = day but the table has ms"),
        ('fingerprint = "', 'fingerprint = "0', "fingerprint"),
        ('"note"', '"nothing"', "extra_columns = 'nothing'.*note"),
        ('"note"', '"user_id"', "extra_columns = 'user_id'"),
        ("rows = 2", 'rows = "two"', "rows = 'two'.*integer"),
        ("rows = 2\n", "", "rows = nothing.*required"),
        ("rows = 2", "rows = 2\nrowz = 2", "rowz = 2.*not permitted"),
        ("rows = 2", "rows =", "not valid TOML"),
    ],
)
def test_a_description_that_disagrees_with_the_table_is_refused(small: Path, line: str, replacement: str, message: str) -> None:
    file = small / "dataset.toml"
    text = file.read_text()
    assert text.count(line) == 1
    file.write_text(text.replace(line, replacement))
    with pytest.raises(UserError, match=message):
        PreparedLog.open(small)


def test_a_replaced_table_is_refused(small: Path) -> None:
    pq.write_table(pa.table({"event_id": ["a", "b"]}), small / "interactions.parquet")
    with pytest.raises(UserError, match="but the table has None"):
        PreparedLog.open(small)


def test_a_missing_table_is_refused(small: Path) -> None:
    (small / "interactions.parquet").unlink()
    with pytest.raises(UserError, match=r"interactions\.parquet: cannot be read"):
        PreparedLog.open(small)
