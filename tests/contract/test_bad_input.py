"""Bad input is refused in one line that names the field, the value and the way out; nothing is written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynmm_core.datasets.checked import Options, describe_folder
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.errors import UserError

HEADER = "user_id,item_id,timestamp\n"
GOOD = HEADER + "1,2,1700000000000\n"


def csv_folder(folder: Path, text: str, name: str = "interactions") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def parquet_folder(folder: Path, **columns: list[object] | pa.Array) -> Path:
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "interactions.parquet")
    return folder


def assert_refused(folder: Path, out: Path, options: Options, *parts: str) -> None:
    """Both commands refuse with the same single line, which holds all `parts`; no file appears anywhere."""
    before = sorted(out.parent.rglob("*"))
    messages = []
    with pytest.raises(UserError) as refused:
        describe_folder(folder, options)
    messages.append(str(refused.value))
    with pytest.raises(UserError) as refused:
        prepare_folder(folder, out, options)
    messages.append(str(refused.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    for part in parts:
        assert part in messages[0]
    assert sorted(out.parent.rglob("*")) == before


def test_user_errors_end_with_exit_code_2() -> None:
    assert UserError.exit_code == 2


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
def test_a_missing_column_is_named_with_those_that_were_found(tmp_path: Path, column: str) -> None:
    text = GOOD.replace(column, "other")
    assert_refused(csv_folder(tmp_path / "in", text), tmp_path / "out", Options(), column, "found:", "other", "rename")


@pytest.mark.parametrize(
    ("row", "options", "parts"),
    [
        ("1,2,-5", Options(), ("timestamp = '-5'", "row 2", "negative")),
        ("1,2,yesterday", Options(), ("timestamp = 'yesterday'", "row 2", "write all times alike")),
        ("1,2,1.7e12", Options(), ("timestamp = '1.7e12'", "row 2")),
        ("1,2,99999999999999999999999", Options(), ("timestamp = '99999999999999999999999'", "row 2")),
        ("1,2,", Options(), ("timestamp = nothing", "row 2", "empty")),
        ("1,2,   ", Options(), ("timestamp", "row 2")),
        (",2,1700000000000", Options(), ("user_id = nothing", "row 2", "empty")),
        ("1,,1700000000000", Options(), ("item_id = nothing", "row 2", "empty")),
        ("1,2,1700000000", Options(), ("timestamp = '1700000000'", "row 2", "--time-unit s")),
        ("1,2,1700000000000000", Options(), ("timestamp = '1700000000000000'", "row 2", "--time-unit us")),
        ("1,2,1700000000000", Options(time_unit="s"), ("timestamp", "--time-unit")),
    ],
)
def test_a_bad_field_is_refused_with_its_value_and_row(
    tmp_path: Path, row: str, options: Options, parts: tuple[str, ...]
) -> None:
    folder = csv_folder(tmp_path / "in", GOOD + row + "\n")
    assert_refused(folder, tmp_path / "out", options, *parts)


@pytest.mark.parametrize("text", ["31.05.2024", "2024-13-01", "2024-02-30T10:00:00Z", "infinity", "2024-05-31T18:00:00+99:00"])
def test_text_that_is_no_iso_time_is_refused(tmp_path: Path, text: str) -> None:
    folder = csv_folder(tmp_path / "in", f"{HEADER}1,2,2024-05-31T18:00:00Z\n1,2,{text}\n")
    assert_refused(folder, tmp_path / "out", Options(), f"timestamp = '{text}'", "row 2", "ISO 8601")


def test_a_time_before_1970_is_refused(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", HEADER + "1,2,1969-12-31T23:59:59Z\n")
    assert_refused(folder, tmp_path / "out", Options(), "timestamp = '1969-12-31T23:59:59Z'", "before 1970")


def test_integers_that_look_like_seconds_name_the_option(tmp_path: Path) -> None:
    folder = parquet_folder(tmp_path / "in", user_id=[1], item_id=[2], timestamp=[1_700_000_000])
    assert_refused(folder, tmp_path / "out", Options(), "timestamp = '1700000000'", "seconds", "--time-unit s")


def test_a_time_unit_for_dates_is_refused(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", HEADER + "1,2,2024-05-31T18:00:00Z\n")
    assert_refused(folder, tmp_path / "out", Options(time_unit="s"), "timestamp", "--time-unit s", "leave it out")


@pytest.mark.parametrize(
    ("field", "values", "kind"),
    [
        ("timestamp", [1.7e12], "DOUBLE"),
        ("timestamp", [True], "BOOLEAN"),
        ("timestamp", [[1]], "BIGINT[]"),
        ("user_id", [True], "BOOLEAN"),
        ("item_id", [["a"]], "VARCHAR[]"),
        ("rating", [True], "BOOLEAN"),
        ("event", [["click"]], "VARCHAR[]"),
        ("ingest_time", [1.5], "DOUBLE"),
    ],
)
def test_a_wrong_type_is_named(tmp_path: Path, field: str, values: list[object], kind: str) -> None:
    columns: dict[str, list[object]] = {"user_id": [1], "item_id": [2], "timestamp": [1_700_000_000_000]}
    folder = parquet_folder(tmp_path / "in", **{**columns, field: values})
    assert_refused(folder, tmp_path / "out", Options(), field, kind, "give")


def test_fractional_ids_are_refused(tmp_path: Path) -> None:
    folder = parquet_folder(tmp_path / "in", user_id=[1.5], item_id=[2], timestamp=[1_700_000_000_000])
    assert_refused(folder, tmp_path / "out", Options(), "user_id = '1.5'", "row 1", "text or integers")


@pytest.mark.parametrize("rating", ["good", "inf"])
def test_a_rating_that_is_no_finite_number_is_refused(tmp_path: Path, rating: str) -> None:
    folder = csv_folder(tmp_path / "in", f"user_id,item_id,timestamp,rating\n1,2,1700000000000,{rating}\n")
    assert_refused(folder, tmp_path / "out", Options(), f"rating = '{rating}'", "row 1", "leave the field empty")


def test_some_rows_without_an_event_id_are_refused(tmp_path: Path) -> None:
    text = "event_id,user_id,item_id,timestamp\na,1,2,1700000000000\n,1,2,1700000000000\n"
    assert_refused(csv_folder(tmp_path / "in", text), tmp_path / "out", Options(), "event_id = nothing", "row 2")


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    assert_refused(csv_folder(tmp_path / "in", HEADER), tmp_path / "out", Options(), "interactions.csv", "no rows")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert_refused(csv_folder(tmp_path / "in", ""), tmp_path / "out", Options(), "interactions.csv", "empty")


def test_an_empty_parquet_table_is_refused(tmp_path: Path) -> None:
    none = pa.array([], pa.int64())
    folder = parquet_folder(tmp_path / "in", user_id=none, item_id=none, timestamp=none)
    assert_refused(folder, tmp_path / "out", Options(), "interactions.parquet", "no rows")


@pytest.mark.parametrize(("line", "fields"), [("1,2", "2"), ("1,2,1700000000000,9", "4")])
def test_a_ragged_csv_is_refused_with_its_line(tmp_path: Path, line: str, fields: str) -> None:
    folder = csv_folder(tmp_path / "in", GOOD + line + "\n1,3,1700000000000\n")
    assert_refused(folder, tmp_path / "out", Options(), "line 3", f"{fields} fields", "header has 3", "repair")


def test_an_open_quote_is_refused_with_its_line(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", GOOD + '1,"2,1700000000000\n')
    assert_refused(folder, tmp_path / "out", Options(), "line 3", "quote")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", GOOD)
    (folder / "interactions.csv").write_bytes(GOOD.encode() + b"\xff\xfe,2,1700000000000\n")
    assert_refused(folder, tmp_path / "out", Options(), "interactions.csv", "UTF-8")


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "interactions.parquet").write_bytes(b"PAR1 but not really")
    assert_refused(tmp_path / "in", tmp_path / "out", Options(), "interactions.parquet", "Parquet")


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    times = [1_700_000_000_000 + row for row in range(5000)]
    folder = parquet_folder(tmp_path / "in", user_id=times, item_id=times, timestamp=times)
    table = folder / "interactions.parquet"
    content = bytearray(table.read_bytes())
    content[4:2000] = bytes(1996)
    table.write_bytes(content)
    assert_refused(folder, tmp_path / "out", Options(), "interactions.parquet", "write the file again")


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert_refused(tmp_path / "in", tmp_path / "out", Options(), "no interactions.parquet or interactions.csv")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere", tmp_path / "out", Options(), "nowhere", "not a folder")


def test_two_tables_for_one_thing_are_refused(tmp_path: Path) -> None:
    folder = parquet_folder(tmp_path / "in", user_id=[1], item_id=[2], timestamp=[1_700_000_000_000])
    assert_refused(csv_folder(folder, GOOD), tmp_path / "out", Options(), "both", "keep the one")


def test_a_name_that_the_prepared_table_needs_is_refused(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", "user_id,item_id,timestamp,event_time_ms\n1,2,1700000000000,5\n")
    assert_refused(folder, tmp_path / "out", Options(), "event_time_ms", "rename")


def test_column_names_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", "user_id,item_id,timestamp,Item_ID\n1,2,1700000000000,5\n")
    assert_refused(folder, tmp_path / "out", Options(), "item_id", "Item_ID", "rename")


def test_min_rating_needs_ratings(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", GOOD)
    assert_refused(folder, tmp_path / "out", Options(min_rating=4), "rating", "--min-rating 4")


@pytest.mark.parametrize("limit", [float("nan"), float("inf")])
def test_min_rating_is_a_finite_number(tmp_path: Path, limit: float) -> None:
    folder = csv_folder(tmp_path / "in", "user_id,item_id,timestamp,rating\n1,2,1700000000000,3\n")
    assert_refused(folder, tmp_path / "out", Options(min_rating=limit), f"--min-rating {limit}", "finite")


def test_min_rating_that_leaves_no_row_is_refused(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", "user_id,item_id,timestamp,rating\n1,2,1700000000000,3\n")
    assert_refused(folder, tmp_path / "out", Options(min_rating=4), "rating of 4", "--min-rating")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("title\nA\n", ("item_id", "missing", "title")),
        ("item_id,title\n,A\n", ("item_id = nothing", "row 1")),
        ("item_id,title\n", ("items.csv", "no rows")),
        ("item_id,title\n1,A,B\n", ("items.csv", "line 2", "3 fields")),
    ],
)
def test_a_bad_items_table_is_refused(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    folder = csv_folder(csv_folder(tmp_path / "in", GOOD), text, "items")
    assert_refused(folder, tmp_path / "out", Options(), *parts)


@pytest.mark.parametrize("name", ["", "a/b", "a\nb"])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    folder = csv_folder(tmp_path / "in", GOOD)
    assert_refused(folder, tmp_path / "out", Options(name=name), "--name", repr(name))


def test_an_existing_output_is_never_written_over(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", GOOD)
    prepare_folder(folder, tmp_path / "out", Options())
    content = {file: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    csv_folder(folder, GOOD + "3,4,1700000000000\n")
    with pytest.raises(UserError, match=r"exists already.*another folder"):
        prepare_folder(folder, tmp_path / "out", Options())
    assert {file: file.read_bytes() for file in (tmp_path / "out").iterdir()} == content


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", GOOD)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out .*cannot|--out .*no folder"):
        prepare_folder(folder, tmp_path / "file" / "out", Options())


def test_a_prepared_log_is_not_prepared_again(tmp_path: Path) -> None:
    prepare_folder(csv_folder(tmp_path / "in", GOOD), tmp_path / "data", Options())
    with pytest.raises(UserError, match="prepared log already"):
        prepare_folder(tmp_path / "data", tmp_path / "out", Options())
    assert not (tmp_path / "out").exists()
