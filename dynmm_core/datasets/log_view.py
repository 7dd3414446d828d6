"""The checked log: a staged interactions table seen as the columns of a prepared log, with dropped rows
counted.
"""

import math
from dataclasses import dataclass

import duckdb

from dynmm_core.datasets.columns import (
    Reading,
    TimeUnit,
    read_id,
    read_rating,
    read_text,
    read_time,
    refuse_bad_rows,
)
from dynmm_core.datasets.prepared import LOGICAL_COLUMNS
from dynmm_core.datasets.tables import FILE_ROW, RawTable, quoted
from dynmm_core.errors import UserError

REQUIRED = ("user_id", "item_id", "timestamp")
OPTIONAL = ("event_id", "rating", "event", "ingest_time")
EVENT_ID_DIGITS = 12


@dataclass(frozen=True)
class Drops:
    """What the checks found: `rows_read = rows + duplicates + without_rating + below_min_rating`.

    `missing_ratings` counts kept and dropped rows alike whose rating is NaN or empty; `out_of_order` the
    rows that lie earlier in time than the row before them in the file.
    """

    rows_read: int
    duplicates: int
    without_rating: int
    below_min_rating: int
    missing_ratings: int
    out_of_order: int


@dataclass(frozen=True)
class LogView:
    """The DuckDB view `log` with the columns of a prepared log, unsorted; `optional` and `extra` say which it
    has.
    """

    connection: duckdb.DuckDBPyConnection
    has_event_ids: bool
    optional: tuple[str, ...]
    extra: tuple[str, ...]
    drops: Drops


def open_log(connection: duckdb.DuckDBPyConnection, table: RawTable, unit: TimeUnit | None, min_rating: float | None) -> LogView:
    """Checks the staged table and creates the view `log` over it; UserError for the first thing that is
    wrong.
    """
    _refuse_missing_columns(table)
    if min_rating is not None and not math.isfinite(min_rating):
        raise UserError(f"--min-rating {min_rating:g}: is no finite number; give one, or leave it out")
    if min_rating is not None and "rating" not in table.columns:
        raise UserError(f"{table.path}: has no column rating, so --min-rating {min_rating:g} cannot apply; leave it out")
    readings = _readings(connection, table, unit)
    refuse_bad_rows(connection, table, list(readings.values()))
    has_event_ids = "event_id" in table.columns
    _find_duplicates(connection, table, has_event_ids)
    extra = tuple(column for column in table.columns if column not in (*REQUIRED, *OPTIONAL))
    _create_views(connection, table, readings, extra, min_rating)
    optional = tuple(name for name in ("rating", "event", "ingest_time_ms") if name in readings)
    return LogView(
        connection,
        has_event_ids,
        optional,
        extra,
        _count_drops(connection, table, min_rating, "rating" in readings),
    )


def _refuse_missing_columns(table: RawTable) -> None:
    found = ", ".join(table.columns)
    for column in REQUIRED:
        if column not in table.columns:
            raise UserError(f"{table.path}: column {column} is missing (found: {found}); rename or add it")
    for column in table.columns:
        if column in LOGICAL_COLUMNS and column not in (*REQUIRED, *OPTIONAL):
            raise UserError(f"{table.path}: column {column} is a name that the prepared table needs; rename it")
        if column not in OPTIONAL and column.lower() in OPTIONAL:
            raise UserError(f"{table.path}: column {column} differs from {column.lower()} in case only; rename it")


def _readings(connection: duckdb.DuckDBPyConnection, table: RawTable, unit: TimeUnit | None) -> dict[str, Reading]:
    """The prepared name of each logical column that the table has, with how to read it."""
    readings = {name: read_id(table, name) for name in ("user_id", "item_id")}
    readings["event_time_ms"] = read_time(connection, table, "timestamp", unit, required=True)
    if "event_id" in table.columns:
        readings["event_id"] = read_id(table, "event_id")
    else:
        readings["event_id"] = Reading(f"format('{{:0{EVENT_ID_DIGITS}d}}', {quoted(FILE_ROW)})")
    if "rating" in table.columns:
        readings["rating"] = read_rating(table, "rating")
    if "event" in table.columns:
        readings["event"] = read_text(table, "event")
    if "ingest_time" in table.columns:
        readings["ingest_time_ms"] = read_time(connection, table, "ingest_time", unit, required=False)
    return readings


def _find_duplicates(connection: duckdb.DuckDBPyConnection, table: RawTable, has_event_ids: bool) -> None:
    """Creates the table `duplicates(file_row)`: every row but the first of those with one user and id, or, without
    ids, wholly alike.
    """
    row = quoted(FILE_ROW)
    # As on the wire: an id belongs to its user, and producers may number each user's events by themselves.
    keys = ["user_id", "event_id"] if has_event_ids else list(table.columns)
    listed = ", ".join(quoted(key) for key in keys)
    # Only rows whose hash repeats are compared whole: the grouping then holds a number a row, not the row.
    connection.execute(f"""
        CREATE TABLE duplicates AS
        WITH suspects AS (SELECT hash({listed}) AS h FROM {table.name} GROUP BY h HAVING count(*) > 1),
             ranked AS (
                 SELECT {row} AS file_row, row_number() OVER (PARTITION BY {listed} ORDER BY {row}) AS nth
                 FROM {table.name} WHERE hash({listed}) IN (SELECT h FROM suspects))
        SELECT file_row FROM ranked WHERE nth > 1
    """).fetchall()


def _create_views(
    connection: duckdb.DuckDBPyConnection,
    table: RawTable,
    readings: dict[str, Reading],
    extra: tuple[str, ...],
    min_rating: float | None,
) -> None:
    names = [name for name in LOGICAL_COLUMNS if name in readings]
    logical = ", ".join(f"{readings[name].expression} AS {name}" for name in names)
    kept = "".join(f", {quoted(column)}" for column in extra)
    row = quoted(FILE_ROW)
    connection.execute(
        f"CREATE VIEW distinct_log AS SELECT {logical}{kept} FROM {table.name}"
        f" WHERE {row} NOT IN (SELECT file_row FROM duplicates)"
    ).fetchall()
    condition = "" if min_rating is None else f" WHERE rating >= {min_rating!r}::DOUBLE"
    connection.execute(f"CREATE VIEW log AS SELECT * FROM distinct_log{condition}").fetchall()
    times = f"SELECT {row} AS file_row, {readings['event_time_ms'].expression} AS t FROM {table.name}"
    connection.execute(f"CREATE VIEW file_order AS {times}").fetchall()


def _count_drops(connection: duckdb.DuckDBPyConnection, table: RawTable, min_rating: float | None, has_rating: bool) -> Drops:
    (duplicates,) = connection.execute("SELECT count(*) FROM duplicates").fetchall()[0]
    without = below = missing = 0
    if has_rating:
        limit = "NULL" if min_rating is None else f"{min_rating!r}::DOUBLE"
        missing, below = connection.execute(
            f"SELECT count(*) FILTER (WHERE rating IS NULL), count(*) FILTER (WHERE rating < {limit}) FROM distinct_log"
        ).fetchall()[0]
        without = missing if min_rating is not None else 0
    (out_of_order,) = connection.execute(
        "SELECT count(*) FILTER (WHERE t < before) FROM (SELECT t, lag(t) OVER (ORDER BY file_row) AS before FROM file_order)"
    ).fetchall()[0]
    if duplicates + without + below == table.rows:
        raise UserError(f"{table.path}: no row has a rating of {min_rating:g} or more; lower --min-rating")
    return Drops(table.rows, duplicates, without, below, missing, out_of_order)
