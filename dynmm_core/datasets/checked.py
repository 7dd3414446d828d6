"""A folder read and checked: its log and items as views of a scratch database, with their figures."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from dynmm_core.datasets.columns import TimeUnit, read_categories, read_id, read_text, refuse_bad_rows
from dynmm_core.datasets.dataset_file import DATASET_FILE
from dynmm_core.datasets.description import LogFigures, log_figures, warnings_of
from dynmm_core.datasets.fingerprint import IDENTITY_COLUMNS
from dynmm_core.datasets.log_view import Drops, LogView, open_log
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.datasets.tables import (
    FILE_ROW,
    find_table,
    quoted,
    require_interactions,
    scratch,
    sql_path,
    stage,
)
from dynmm_core.errors import UserError


@dataclass(frozen=True)
class ItemFigures:
    """The items table in figures: rows kept, repeated item_ids dropped, and how many items of the log have no
    row in it.
    """

    rows: int
    duplicates: int
    log_items_without_row: int


@dataclass(frozen=True)
class Description:
    """All that is known of a folder; `asdict` of it is the JSON output. `drops` is None for a log prepared
    earlier.
    """

    name: str
    source: str
    drops: Drops | None
    figures: LogFigures
    has_event_ids: bool
    optional_columns: tuple[str, ...]
    extra_columns: tuple[str, ...]
    item_table: ItemFigures | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Options:
    """How to read a folder: unit of integer times (None = ms, checked), rows kept by rating, name (None = the
    folder's).
    """

    time_unit: TimeUnit | None = None
    min_rating: float | None = None
    name: str | None = None


@contextmanager
def checked_folder(folder: Path, options: Options, beside: Path | None = None) -> Iterator[tuple[LogView, Description]]:
    """Reads and checks a folder; until the exit its log is the view `log`, its items the view `items`."""
    table_path = require_interactions(folder)
    if (folder / DATASET_FILE).is_file():
        raise UserError(f"{folder}: is a prepared log already; use it as it is, or give the folder that it was made from")
    items_path = find_table(folder, "items")
    name = options.name if options.name is not None else folder.resolve().name
    if not re.fullmatch(r"[^\s/\\][^/\\\n]*", name):
        raise UserError(f"--name {name!r} cannot be used; give one line without slashes")
    with scratch(beside) as connection:
        log = open_log(connection, stage(connection, table_path, "interactions"), options.time_unit, options.min_rating)
        figures = log_figures(connection)
        items = _open_items(connection, items_path) if items_path is not None else None
        yield (
            log,
            Description(
                name=name,
                source=str(folder),
                drops=log.drops,
                figures=figures,
                has_event_ids=log.has_event_ids,
                optional_columns=log.optional,
                extra_columns=log.extra,
                item_table=items,
                warnings=tuple(warnings_of(figures)),
            ),
        )


def describe_folder(folder: Path, options: Options) -> Description:
    """Checks a folder, or opens one that is prepared already, and returns its figures; writes nothing."""
    if (folder / DATASET_FILE).is_file():
        return _describe_prepared(PreparedLog.open(folder), options)
    with checked_folder(folder, options) as (_, description):
        return description


def _open_items(connection: duckdb.DuckDBPyConnection, path: Path) -> ItemFigures:
    """Checks the items table and creates the view `items`: the first row of each item_id, in file order."""
    table = stage(connection, path, "raw_items")
    if "item_id" not in table.columns:
        raise UserError(f"{path}: column item_id is missing (found: {', '.join(table.columns)}); rename or add it")
    readings = {"item_id": read_id(table, "item_id")}
    readings |= {name: read_text(table, name) for name in ("title", "description") if name in table.columns}
    if "categories" in table.columns:
        readings["categories"] = read_categories(table, "categories")
    refuse_bad_rows(connection, table, list(readings.values()))
    columns = ", ".join(
        f"{readings[name].expression} AS {quoted(name)}" if name in readings else quoted(name) for name in table.columns
    )
    row = quoted(FILE_ROW)
    connection.execute(
        f"CREATE VIEW items AS SELECT {columns} FROM raw_items WHERE {row} IN"
        f" (SELECT min({row}) FROM raw_items GROUP BY {readings['item_id'].expression}) ORDER BY {row}"
    ).fetchall()
    figures = _item_figures(connection, duplicates=0)
    return replace(figures, duplicates=table.rows - figures.rows)


def _describe_prepared(log: PreparedLog, options: Options) -> Description:
    if options != Options():
        raise UserError(f"{log.path}: is prepared already: --min-rating and --time-unit do not apply; leave them out")
    with scratch() as connection:
        connection.execute(f"CREATE VIEW log AS FROM read_parquet({sql_path(log.interactions_path)})").fetchall()
        figures = log_figures(connection)
        items = _prepared_items(connection, log.items_path) if log.items_path is not None else None
    optional = tuple(column for column in log.columns if column not in (*IDENTITY_COLUMNS, *log.extra_columns))
    return Description(
        name=log.name,
        source=str(log.path),
        drops=None,
        figures=figures,
        has_event_ids=log.has_event_ids,
        optional_columns=optional,
        extra_columns=log.extra_columns,
        item_table=items,
        warnings=tuple(warnings_of(figures)),
    )


def _prepared_items(connection: duckdb.DuckDBPyConnection, path: Path) -> ItemFigures:
    connection.execute(f"CREATE VIEW items AS FROM read_parquet({sql_path(path)})").fetchall()
    return _item_figures(connection, duplicates=0)


def _item_figures(connection: duckdb.DuckDBPyConnection, duplicates: int) -> ItemFigures:
    rows, without = connection.execute(
        "SELECT (SELECT count(*) FROM items), (SELECT count(DISTINCT item_id) FROM log"
        " WHERE item_id NOT IN (SELECT item_id FROM items))"
    ).fetchall()[0]
    return ItemFigures(rows, duplicates, without)
