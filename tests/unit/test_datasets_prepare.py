"""What prepare accepts, how it reads it, and what it writes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.log_view import Drops
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog

T = 1_700_000_000_000


def csv_folder(folder: Path, text: str, name: str = "interactions") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_text(text, encoding="utf-8", newline="")
    return folder


def parquet_folder(folder: Path, table: pa.Table, name: str = "interactions") -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / f"{name}.parquet")
    return folder


def prepared(folder: Path, options: Options | None = None) -> tuple[PreparedLog, Drops]:
    out = folder.parent / "data"
    description, _ = prepare_folder(folder, out, options or Options())
    assert description.drops is not None
    return PreparedLog.open(out), description.drops


def column(log: PreparedLog, name: str) -> list[object]:
    values: list[object] = log.read([name])[name].to_pylist()
    return values


def times(folder: Path, options: Options | None = None) -> list[object]:
    return column(prepared(folder, options)[0], "event_time_ms")


def test_rows_are_sorted_by_time_and_then_stay_in_file_order(tmp_path: Path) -> None:
    text = f"user_id,item_id,timestamp\na,1,{T + 5}\nb,2,{T}\nc,3,{T + 5}\nd,4,{T}\n"
    log, drops = prepared(csv_folder(tmp_path / "in", text))
    assert column(log, "user_id") == ["b", "d", "a", "c"]
    assert column(log, "event_id") == [f"{row:012d}" for row in (1, 3, 0, 2)]
    assert not log.has_event_ids
    assert drops.out_of_order == 2


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_id_is_kept_to_its_last_byte_as_in_a_message(tmp_path: Path, kind: str) -> None:
    ids = ["a", "a\0", "a\0b", "a\0\0"]
    if kind == "csv":
        folder = csv_folder(tmp_path / "in", "user_id,item_id,timestamp\n" + "".join(f"{one},{one},{T}\n" for one in ids))
    else:
        folder = parquet_folder(tmp_path / "in", pa.table({"user_id": ids, "item_id": ids, "timestamp": [T] * 4}))
    log, _ = prepared(folder)
    assert column(log, "user_id") == column(log, "item_id") == ids


def test_rows_with_event_ids_are_sorted_by_time_and_id(tmp_path: Path) -> None:
    text = f"event_id,user_id,item_id,timestamp\nz,a,1,{T}\ny,b,2,{T}\nx,c,3,{T + 1}\n"
    log, _ = prepared(csv_folder(tmp_path / "in", text))
    assert column(log, "event_id") == ["y", "z", "x"]
    assert log.has_event_ids


def test_numeric_ids_are_kept_as_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": pa.array([7, -8], pa.int32()),
            "item_id": pa.array([7.0, 2.0**40], pa.float64()),
            "timestamp": [T, T + 1],
        }
    )
    log, _ = prepared(parquet_folder(tmp_path / "in", table))
    assert column(log, "user_id") == ["7", "-8"]
    assert column(log, "item_id") == ["7", str(2**40)]


def test_text_ids_are_not_touched(tmp_path: Path) -> None:
    text = f'user_id,item_id,timestamp\n007,"a,\nb",{T}\n é ,0x1F,{T}\n'
    log, _ = prepared(csv_folder(tmp_path / "in", text))
    assert column(log, "user_id") == ["007", " é "]
    assert column(log, "item_id") == ["a,\nb", "0x1F"]


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [(None, T, T), ("ms", 5, 5), ("s", 1_700_000_000, T), ("s", 0, 0), ("us", T * 1000 + 999, T)],
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_integer_times_are_read_in_their_unit(tmp_path: Path, unit: str | None, value: int, expected: int, form: str) -> None:
    folder = tmp_path / "in"
    if form == "csv":
        csv_folder(folder, f"user_id,item_id,timestamp\n1,2,{value}\n")
    else:
        parquet_folder(folder, pa.table({"user_id": [1], "item_id": [2], "timestamp": [value]}))
    assert times(folder, Options(time_unit=unit)) == [expected]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-14T22:13:20Z", T),
        ("2023-11-14T22:13:20", T),
        ("2023-11-14 22:13:20.123456", T + 123),
        ("2023-11-15T00:13:20+02:00", T),
        ("2023-11-14T18:43:20-0330", T),
        ("2023-11-14", T - T % 86_400_000),
    ],
)
def test_iso_times_are_utc_unless_they_say_otherwise(tmp_path: Path, text: str, expected: int) -> None:
    assert times(csv_folder(tmp_path / "in", f"user_id,item_id,timestamp\n1,2,{text}\n")) == [expected]


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("s"),
        pa.timestamp("ms"),
        pa.timestamp("us"),
        pa.timestamp("ns"),
        pa.timestamp("us", "UTC"),
        pa.timestamp("ns", "Europe/Berlin"),
    ],
)
def test_typed_times_are_read_as_utc(tmp_path: Path, kind: pa.DataType) -> None:
    typed = pa.array([T], pa.timestamp("ms")).cast(pa.timestamp(kind.unit)).cast(kind)
    table = pa.table({"user_id": [1], "item_id": [2], "timestamp": typed})
    assert times(parquet_folder(tmp_path / "in", table)) == [T]


def test_ingest_times_become_ms_and_may_be_absent(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,ingest_time\n1,2,1700000000,1700000003\n1,3,1700000001,\n"
    log, _ = prepared(csv_folder(tmp_path / "in", text), Options(time_unit="s"))
    assert log.columns == ("event_id", "user_id", "item_id", "event_time_ms", "ingest_time_ms")
    assert column(log, "ingest_time_ms") == [T + 3000, None]


def test_wholly_identical_rows_are_dropped_and_the_first_stays(tmp_path: Path) -> None:
    rows = [f"a,1,{T},x", f"b,1,{T},x", f"a,1,{T},x", f"a,1,{T},y", f"a,1,{T},x"]
    log, drops = prepared(csv_folder(tmp_path / "in", "user_id,item_id,timestamp,note\n" + "\n".join(rows)))
    assert drops.duplicates == 2
    assert column(log, "event_id") == ["000000000000", "000000000001", "000000000003"]
    assert column(log, "note") == ["x", "x", "y"]


def test_identical_rows_with_absent_values_are_duplicates_too(tmp_path: Path) -> None:
    nan = float("nan")
    table = pa.table({"user_id": [1, 1, 1], "item_id": [2, 2, 2], "timestamp": [T] * 3, "rating": [nan, nan, None]})
    _, drops = prepared(parquet_folder(tmp_path / "in", table))
    assert (drops.duplicates, drops.missing_ratings) == (1, 2)


def test_an_event_id_that_a_user_has_twice_is_dropped_whatever_the_rest_says(tmp_path: Path) -> None:
    text = f"event_id,user_id,item_id,timestamp\ne,a,1,{T + 9}\ne,a,2,{T}\nf,a,1,{T + 9}\ne,b,3,{T + 9}\n"
    log, drops = prepared(csv_folder(tmp_path / "in", text))
    assert drops.duplicates == 1
    assert column(log, "user_id") == ["a", "b", "a"] and column(log, "item_id") == ["1", "3", "1"]


def test_nan_ratings_are_absent(tmp_path: Path) -> None:
    text = f"user_id,item_id,timestamp,rating\n1,2,{T},NaN\n1,3,{T},\n1,4,{T},3.5\n1,5,{T},nan\n"
    log, drops = prepared(csv_folder(tmp_path / "in", text))
    assert column(log, "rating") == [None, None, 3.5, None]
    assert drops.missing_ratings == 3
    assert drops.without_rating == 0


def test_min_rating_keeps_what_has_that_rating_and_counts_the_rest(tmp_path: Path) -> None:
    ratings = ["4", "3.9", "", "5", "NaN", "4"]
    rows = [f"1,{item},{T},{rating}" for item, rating in enumerate(ratings)] + [f"1,0,{T},4"]
    folder = csv_folder(tmp_path / "in", "user_id,item_id,timestamp,rating\n" + "\n".join(rows))
    log, drops = prepared(folder, Options(min_rating=4))
    assert column(log, "item_id") == ["0", "3", "5"]
    assert drops == Drops(rows_read=7, duplicates=1, without_rating=2, below_min_rating=1, missing_ratings=2, out_of_order=0)


def test_further_columns_keep_their_names_types_and_values(tmp_path: Path) -> None:
    table = pa.table(
        {
            "price": pa.array([1.5, None], pa.float32()),
            "user_id": ["a", "b"],
            "Tags": pa.array([["x", "y"], []], pa.list_(pa.string())),
            "item_id": [1, 2],
            "timestamp": [T, T + 1],
            'odd "name"': pa.array([1, 2], pa.int16()),
        }
    )
    log, _ = prepared(parquet_folder(tmp_path / "in", table))
    assert log.extra_columns == ("price", "Tags", 'odd "name"')
    kept = log.read(log.extra_columns)
    assert kept.to_pydict() == table.select(list(log.extra_columns)).to_pydict()
    assert kept.schema.types[0] == pa.float32()
    assert kept.schema.types[2] == pa.int16()


def test_an_edited_file_leaves_a_column_out(tmp_path: Path) -> None:
    prepared(csv_folder(tmp_path / "in", f"user_id,item_id,timestamp,a,b\n1,2,{T},3,4\n"))
    file = tmp_path / "data" / "dataset.toml"
    text = file.read_text()
    assert '    "a",\n' in text
    file.write_text(text.replace('    "a",\n', "").replace('name = "in"', 'name = "shop"'))
    log = PreparedLog.open(tmp_path / "data")
    assert (log.name, log.extra_columns) == ("shop", ("b",))
    assert log.read().column_names == ["event_id", "user_id", "item_id", "event_time_ms", "b"]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_usual_csv_dialects_are_read(tmp_path: Path, mark: str, end: str) -> None:
    lines = [["user_id", "item_id", "timestamp"], ["1", "2", str(T)]]
    text = "\ufeff" + end.join(mark.join(line) for line in lines) + end
    assert times(csv_folder(tmp_path / "in", text)) == [T]


def test_paths_with_wildcards_and_quotes_are_plain_paths(tmp_path: Path) -> None:
    folder = tmp_path / "it's [x]*?"
    csv_folder(tmp_path / "it's xyz", f"user_id,item_id,timestamp\nother,2,{T}\n")
    log, _ = prepared(csv_folder(folder, f"user_id,item_id,timestamp\n1,2,{T}\n"))
    assert column(log, "user_id") == ["1"]


def test_items_are_kept_with_list_categories_and_without_repeats(tmp_path: Path) -> None:
    folder = csv_folder(tmp_path / "in", f"user_id,item_id,timestamp\n1,2,{T}\n1,9,{T}\n")
    csv_folder(folder, "item_id,title,categories,year\n3,C,,2001\n2,A,Drama|War,2000\n2,B,Drama,2000\n", "items")
    description, _ = prepare_folder(folder, tmp_path / "data", Options())
    items = PreparedLog.open(tmp_path / "data").items_path
    assert items is not None
    assert pq.read_table(items).to_pydict() == {
        "item_id": ["3", "2"],
        "title": ["C", "A"],
        "categories": [None, ["Drama", "War"]],
        "year": ["2001", "2000"],
    }
    figures = description.item_table
    assert figures is not None
    assert (figures.rows, figures.duplicates, figures.log_items_without_row) == (2, 1, 1)


def test_integer_item_ids_match_between_both_tables(tmp_path: Path) -> None:
    folder = parquet_folder(tmp_path / "in", pa.table({"user_id": [1], "item_id": [2], "timestamp": [T]}))
    parquet_folder(folder, pa.table({"item_id": [2.0], "categories": [["a"]]}), "items")
    description, _ = prepare_folder(folder, tmp_path / "data", Options())
    assert description.item_table is not None
    assert description.item_table.log_items_without_row == 0


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 7},i{n % 5},{T + n * 37 % 1000}\n" for n in range(500))
    folder = csv_folder(tmp_path / "in", "user_id,item_id,timestamp\n" + rows)
    for name in ("a", "b"):
        prepare_folder(folder, tmp_path / name, Options())
    for file in ("interactions.parquet", "dataset.toml"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = csv_folder(tmp_path / "in", f"user_id,item_id,timestamp\n1,2,{T}\n")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("dynmm_core.datasets.folders._flush", full)
    with pytest.raises(OSError, match="no space"):
        prepare_folder(folder, tmp_path / "data", Options())
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
