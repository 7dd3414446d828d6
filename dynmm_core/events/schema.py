"""The interaction: which columns every event has, which it may have, and the order in which columns are kept."""

from collections.abc import Iterable

import pyarrow as pa

REQUIRED_COLUMNS = ("event_time_ms", "event_id", "user_id", "item_id")
COLUMN_TYPES: dict[str, pa.DataType] = {
    "event_time_ms": pa.int64(),
    "event_id": pa.string(),
    "user_id": pa.string(),
    "item_id": pa.string(),
    "rating": pa.float64(),
    "event": pa.string(),
    "ingest_time_ms": pa.int64(),
}
MAX_TIME_MS = 253_402_300_799_999  # the last millisecond of the year 9999
MAX_ID_BYTES = 1024


def ordered_columns(names: Iterable[str]) -> list[str]:
    """The columns in their one canonical order: those of the schema, then further columns by name."""
    present = set(names)
    known = [name for name in COLUMN_TYPES if name in present]
    return known + sorted(present.difference(COLUMN_TYPES))


def empty_events() -> pa.RecordBatch:
    """No events, with the columns that every event has."""
    schema = pa.schema([(name, COLUMN_TYPES[name]) for name in REQUIRED_COLUMNS])
    return pa.RecordBatch.from_pylist([], schema=schema)
