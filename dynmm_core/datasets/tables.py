"""A user's input tables: found in a folder, staged row by row into a scratch database that spills to disk."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dynmm_core.errors import UserError

FILE_ROW = "__file_row"
MEMORY_LIMIT = "1GiB"
_FORMATS = (".parquet", ".csv")
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class RawTable:
    """One staged input table: the scratch table `name` holds the file's columns as they are, plus `FILE_ROW`
    (0-based).

    `columns` maps the file's column names to DuckDB type names; every column of a CSV is VARCHAR, for a
    CSV has no types.
    """

    path: Path
    name: str
    columns: dict[str, str]
    rows: int


@contextmanager
def scratch(beside: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection on a temporary file, with bounded memory, in UTC, and without downloads of
    extensions.

    `beside` is the folder that receives the temporary files (the system's own if None); they go away with
    the context.
    """
    with TemporaryDirectory(prefix=".dynmm-scratch-", dir=beside) as folder:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": f"{folder}/spill",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        connection = duckdb.connect(f"{folder}/scratch.duckdb", config=settings)
        try:
            connection.execute("SET TimeZone = 'UTC'").fetchall()
            yield connection
        finally:
            connection.close()


def quoted(column: str) -> str:
    """A column name as an SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def find_table(folder: Path, stem: str) -> Path | None:
    """`folder/stem.parquet` or `folder/stem.csv`; None if there is neither, UserError if there are both."""
    found = [folder / f"{stem}{suffix}" for suffix in _FORMATS if (folder / f"{stem}{suffix}").is_file()]
    if len(found) > 1:
        raise UserError(f"{folder}: holds both {stem}.parquet and {stem}.csv; keep the one that is meant")
    return found[0] if found else None


def require_interactions(folder: Path) -> Path:
    """The folder's interactions table; UserError when there is no such folder or no table in it."""
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; give the folder that holds interactions.parquet or interactions.csv")
    table = find_table(folder, "interactions")
    if table is None:
        raise UserError(f"{folder}: has no interactions.parquet or interactions.csv; put the table there under that name")
    return table


def stage(connection: duckdb.DuckDBPyConnection, path: Path, name: str) -> RawTable:
    """Copies a table file into the scratch table `name`, in file order; UserError when it cannot be read or
    has no rows.
    """
    columns = _csv_columns(path) if path.suffix == ".csv" else _parquet_columns(path)
    _refuse_clashing_names(path, columns)
    scan = _csv_scan(path, columns) if path.suffix == ".csv" else f"read_parquet({sql_path(path)})"
    listed = ", ".join(quoted(column) for column in columns)
    try:
        connection.execute(
            f"CREATE TABLE {name} AS SELECT row_number() OVER () - 1 AS {quoted(FILE_ROW)}, {listed} FROM {scan}"
        ).fetchall()
    except duckdb.Error as error:
        raise UserError(f"{path}: {_reading_problem(str(error))}") from error
    types = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {name})").fetchall()
    (rows,) = connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0]
    if rows == 0:
        raise UserError(f"{path}: has no rows; give a table with at least one")
    return RawTable(path, name, {column: kind for column, kind in types if column != FILE_ROW}, rows)


def _parquet_columns(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: is not a readable Parquet file; write it again, or give a CSV ({_first_line(error)})"
        ) from error


def _csv_columns(path: Path) -> list[str]:
    return next(csv.reader([_header(path)], delimiter=_delimiter(path)), [])


def _header(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.readline().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text; save it as UTF-8") from error


def _delimiter(path: Path) -> str:
    """The separator that splits the header into most columns; a comma when none splits it."""
    header = _header(path)
    return max(_DELIMITERS, key=lambda mark: (len(next(csv.reader([header], delimiter=mark), [])), mark == ","))


def _csv_scan(path: Path, columns: Sequence[str]) -> str:
    # Nothing is left to sniffing: a guessed dialect can turn a ragged file into a table with other columns.
    types = ", ".join("'" + column.replace("'", "''") + "': 'VARCHAR'" for column in columns)
    return (
        f"read_csv({sql_path(path)}, auto_detect=false, header=true, delim='{_delimiter(path)}',"
        " quote='\"', escape='\"',"
        f" strict_mode=true, null_padding=false, columns={{{types}}})"
    )


def sql_path(path: Path) -> str:
    """The path as an SQL string in which no character is a wildcard."""
    return "'" + re.sub(r"([\[*?])", r"[\1]", str(path)).replace("'", "''") + "'"


def _refuse_clashing_names(path: Path, columns: Sequence[str]) -> None:
    if not columns:
        raise UserError(f"{path}: is empty; give a table with a header and at least one row")
    seen: dict[str, str] = {}
    for column in columns:
        if not column.strip() or column.startswith("__"):
            raise UserError(f"{path}: column name {column!r} cannot be used; rename it (not empty, no leading '__')")
        if column.lower() in seen:
            raise UserError(f"{path}: columns {seen[column.lower()]!r} and {column!r} differ at most in case; rename one")
        seen[column.lower()] = column


def _reading_problem(message: str) -> str:
    """DuckDB's report of an unreadable file in one line: where, what, and the way out."""
    line = re.search(r"CSV Error on Line: (\d+)", message)
    where = f"line {line.group(1)} " if line else ""
    fields = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if fields:
        found, expected = fields.group(2), fields.group(1)
        return f"{where}has {found} fields where the header has {expected}; repair or remove that line"
    if "unterminated quote" in message:
        return f"{where}opens a quote that is never closed; repair that line"
    if "not utf-8" in message.lower():
        return f"{where}is not UTF-8 text; save the file as UTF-8"
    return f"{where}cannot be read ({_first_line(message)}); write the file again"


def _first_line(error: object) -> str:
    return str(error).strip().split("\n", 1)[0]
