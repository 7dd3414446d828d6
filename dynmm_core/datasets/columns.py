"""How each logical column is read from a staged table: one SQL expression, and the conditions under which a
row is refused.
"""

from dataclasses import dataclass
from typing import Literal

import duckdb

from dynmm_core.datasets.tables import FILE_ROW, RawTable, quoted
from dynmm_core.errors import UserError

TimeUnit = Literal["ms", "s", "us"]

_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"})
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
# 10^11 ms lie in March 1973, 10^11 s in the year 5138: a number of today falls on one side only.
_EARLIEST_PLAUSIBLE_MS = 10**11
_EARLIEST_PLAUSIBLE_US = 10**14
_END_OF_CALENDAR_MS = 253_402_300_800_000
_LARGEST_WHOLE_DOUBLE = 2**53
_ISO_TIME = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|[+-](0\d|1[0-5])(:?[0-5]\d)?))?)?"


@dataclass(frozen=True)
class Refusal:
    """Rows for which `condition` (SQL over the staged table) holds are refused with `reason`, which ends with
    the way out.
    """

    column: str
    condition: str
    reason: str


@dataclass(frozen=True)
class Reading:
    """`expression` (SQL over the staged table) yields the logical value of every row that is not refused."""

    expression: str
    refusals: tuple[Refusal, ...] = ()


def read_id(table: RawTable, column: str) -> Reading:
    """An id as text: text as it is, whole numbers in decimal digits (also if stored as floats)."""
    kind, value = table.columns[column], quoted(column)
    if kind in _INTEGERS or kind == "UUID":
        return Reading(f"CAST({value} AS VARCHAR)", (_empty(column, f"{value} IS NULL"),))
    if kind == "VARCHAR":
        return Reading(value, (_empty(column, f"{value} IS NULL OR trim({value}) = ''"),))
    if kind in _FLOATS or kind.startswith("DECIMAL"):
        broken = f"isnan({value}) OR {value} <> floor({value}) OR abs({value}) > {_LARGEST_WHOLE_DOUBLE}"
        reason = "is no whole number that can be read exactly; give ids as text or integers"
        refusals = (_empty(column, f"{value} IS NULL"), Refusal(column, broken, reason))
        return Reading(f"CAST(CAST({value} AS HUGEINT) AS VARCHAR)", refusals)
    raise _wrong_type(table, column, "give text or whole numbers")


def read_text(table: RawTable, column: str) -> Reading:
    """Free text; numbers, times and truth values are taken as their text, nested values are refused."""
    kind = table.columns[column]
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "BLOB", "UNION")):
        raise _wrong_type(table, column, "give text")
    return Reading(f"CAST({quoted(column)} AS VARCHAR)")


def read_categories(table: RawTable, column: str) -> Reading:
    """Categories as a list of text; a text is split at '|'."""
    kind, value = table.columns[column], quoted(column)
    if kind.endswith("[]") and not kind.startswith(("STRUCT", "MAP")):
        return Reading(f"CAST({value} AS VARCHAR[])")
    if kind == "VARCHAR":
        return Reading(f"CASE WHEN {value} = '' THEN NULL ELSE string_split({value}, '|') END")
    raise _wrong_type(table, column, "give a list of texts, or one text with '|' between the categories")


def read_rating(table: RawTable, column: str) -> Reading:
    """A rating as double; NaN and an empty field mean that there is none."""
    kind, value = table.columns[column], quoted(column)
    if kind in _INTEGERS or kind in _FLOATS or kind.startswith("DECIMAL"):
        number, unreadable = f"CAST({value} AS DOUBLE)", "false"
    elif kind == "VARCHAR":
        number = f"TRY_CAST(nullif(trim({value}), '') AS DOUBLE)"
        unreadable = f"trim({value}) <> '' AND {number} IS NULL"
    else:
        raise _wrong_type(table, column, "give numbers")
    refusals = (
        Refusal(column, unreadable, "is not a number; correct it, or leave the field empty if there is no rating"),
        Refusal(
            column,
            f"isinf({number})",
            "is infinite; correct it, or leave the field empty if there is no rating",
        ),
    )
    return Reading(f"CASE WHEN isnan({number}) THEN NULL ELSE {number} END", refusals)


def read_time(
    connection: duckdb.DuckDBPyConnection, table: RawTable, column: str, unit: TimeUnit | None, required: bool
) -> Reading:
    """A time as int64 ms UTC, from integers (`unit`, ms if None), ISO 8601 text (UTC where no offset is
    given) or a typed time.

    Refuses negative and unreadable times, and, unless `unit` is given, integers that look like another
    unit than ms.
    """
    kind, value = table.columns[column], quoted(column)
    empty = (_empty(column, f"{value} IS NULL OR trim(CAST({value} AS VARCHAR)) = ''"),) if required else ()
    if kind in _INTEGERS:
        reading = _integer_time(column, f"CAST({value} AS HUGEINT)", unit)
    elif kind == "VARCHAR" and _starts_with_integer(connection, table, column):
        reading = _integer_text_time(column, unit)
    else:
        if unit is not None:
            raise UserError(f"{table.path}: {column} holds dates, so --time-unit {unit} does not apply; leave it out")
        reading = _iso_time(column) if kind == "VARCHAR" else _typed_time(table, column)
    return Reading(reading.expression, empty + reading.refusals)


def _integer_time(column: str, number: str, unit: TimeUnit | None) -> Reading:
    as_ms = {"s": f"{number} * 1000", "us": f"{number} // 1000"}.get(unit or "ms", number)
    refusals = [Refusal(column, f"{number} < 0", "is negative; give times after 1970")]
    if unit is None:
        hint = "looks like {}, not milliseconds; give --time-unit {} (or --time-unit ms if it is milliseconds)"
        seconds, micros = hint.format("seconds", "s"), hint.format("microseconds", "us")
        refusals.append(Refusal(column, f"{number} < {_EARLIEST_PLAUSIBLE_MS}", seconds))
        refusals.append(Refusal(column, f"{number} >= {_EARLIEST_PLAUSIBLE_US}", micros))
    beyond = f"lies after the year 9999 when read in {unit or 'ms'}; give the --time-unit that it is in"
    refusals.append(Refusal(column, f"{as_ms} >= {_END_OF_CALENDAR_MS}", beyond))
    # TRY: a number beyond int64 is refused above, but the cast may be evaluated for it all the same.
    return Reading(f"TRY_CAST({as_ms} AS BIGINT)", tuple(refusals))


def _integer_text_time(column: str, unit: TimeUnit | None) -> Reading:
    text = f"nullif(trim({quoted(column)}), '')"
    number = f"TRY_CAST({text} AS BIGINT)"
    reading = _integer_time(column, f"CAST({number} AS HUGEINT)", unit)
    unreadable = f"{text} IS NOT NULL AND (NOT regexp_full_match({text}, '[+-]?\\d+') OR {number} IS NULL)"
    reason = "cannot be read as a whole number, as the first row can; write all times alike"
    return Reading(reading.expression, (Refusal(column, unreadable, reason), *reading.refusals))


def _iso_time(column: str) -> Reading:
    text = f"nullif(trim({quoted(column)}), '')"
    ms = f"epoch_ms(TRY_CAST({text} AS TIMESTAMPTZ))"
    unreadable = f"{text} IS NOT NULL AND (NOT regexp_full_match({text}, '{_ISO_TIME}') OR {ms} IS NULL)"
    reason = "is no readable time; give ISO 8601 (2024-05-31T18:00:00Z) or whole numbers in ms UTC"
    refusals = (
        Refusal(column, unreadable, reason),
        Refusal(column, f"{ms} < 0", "lies before 1970; give times after it"),
    )
    return Reading(ms, refusals)


def _typed_time(table: RawTable, column: str) -> Reading:
    kind, value = table.columns[column], quoted(column)
    if kind != "DATE" and not kind.startswith("TIMESTAMP"):
        raise _wrong_type(table, column, "give whole numbers in ms UTC, timestamps, or ISO 8601 text")
    # Nanoseconds with a zone have no cast that does not move them to the session's zone.
    of_kind = {"TIMESTAMP WITH TIME ZONE": value, "TIMESTAMPTZ_NS": f"make_timestamp(epoch_ns({value}) // 1000)"}
    instant = of_kind.get(kind, f"CAST({value} AS TIMESTAMP)")
    ms = f"CASE WHEN isfinite({instant}) THEN epoch_ms({instant}) END"
    refusals = (
        Refusal(column, f"NOT isfinite({instant})", "is infinite; give a time"),
        Refusal(column, f"{ms} < 0", "lies before 1970; give times after it"),
    )
    return Reading(ms, refusals)


def _starts_with_integer(connection: duckdb.DuckDBPyConnection, table: RawTable, column: str) -> bool:
    """Whether the first filled field of a text column is a whole number: the rest of the column must then
    agree.
    """
    text = f"trim({quoted(column)})"
    first = connection.execute(
        f"SELECT {text} FROM {table.name} WHERE {text} <> '' ORDER BY {quoted(FILE_ROW)} LIMIT 1"
    ).fetchall()
    return bool(first) and first[0][0].lstrip("+-").isdigit()


def refuse_bad_rows(connection: duckdb.DuckDBPyConnection, table: RawTable, readings: list[Reading]) -> None:
    """Raises UserError for the first row, in file order, that a reading refuses; the message names field,
    value and row.
    """
    refusals = [refusal for reading in readings for refusal in reading.refusals]
    row = quoted(FILE_ROW)
    firsts = ", ".join(f"min({row}) FILTER (WHERE {refusal.condition})" for refusal in refusals)
    hits = connection.execute(f"SELECT {firsts} FROM {table.name}").fetchall()[0]
    found = [(hit, position) for position, hit in enumerate(hits) if hit is not None]
    if not found:
        return
    file_row, position = min(found)
    refusal = refusals[position]
    query = f"SELECT CAST({quoted(refusal.column)} AS VARCHAR) FROM {table.name} WHERE {row} = ?"
    (value,) = connection.execute(query, [file_row]).fetchall()[0]
    shown = "nothing" if value is None else repr(value if len(value) <= 60 else value[:57] + "...")
    raise UserError(f"{table.path}: {refusal.column} = {shown} in row {file_row + 1} {refusal.reason}")


def _empty(column: str, condition: str) -> Refusal:
    return Refusal(column, condition, "is empty; fill it, or remove the row")


def _wrong_type(table: RawTable, column: str, way_out: str) -> UserError:
    return UserError(f"{table.path}: {column} has the type {table.columns[column]}; {way_out}")
