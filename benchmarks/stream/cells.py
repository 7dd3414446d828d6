"""Sliding counts per item as cells (window_end_ms, item_id, events), and whether two engines found the same."""

from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.stream.events import SLIDE_MS, WINDOW_MS

_REFERENCE = f"""
    with panes as (
        select event_time_ms // {SLIDE_MS} as pane, item_id, count(*) as events from read_parquet(?) group by all
    )
    select (pane + ahead + 1) * {SLIDE_MS} as window_end_ms, item_id, sum(events)::bigint as events
    from panes, range({WINDOW_MS // SLIDE_MS}) as aheads(ahead) group by all
"""


def reference_cells(events: Path, cells: Path) -> None:
    """Write the true cells of a Parquet file of events."""
    with duckdb.connect() as connection:
        connection.execute("create table cells as " + _REFERENCE, [str(events)])
        connection.execute(f"copy cells to '{cells}' (format parquet)")


def differing_cells(found: Path, reference: Path) -> int:
    """How many cells lie in one of the two alone; a cell with another count is in both."""
    with duckdb.connect() as connection:
        if found.suffix == ".arrow":
            with pa.ipc.open_file(found) as reader:
                connection.register("found", reader.read_all())
        else:
            connection.execute("create table found as " + _reading(found))
        connection.execute("create table reference as " + _reading(reference))
        both = "(from found except all from reference) union all (from reference except all from found)"
        row = connection.execute(f"select count(*) from ({both})").fetchone()
    assert row is not None
    return int(row[0])


def _reading(path: Path) -> str:
    """A query of the cells in a file, or in the CSV files that a peer has left in a folder: those have no header."""
    if path.suffix == ".parquet":
        return f"select window_end_ms::bigint, item_id, events::bigint from read_parquet('{path}')"
    if path.is_dir():
        columns = "{'window_end': 'TIMESTAMP', 'item_id': 'VARCHAR', 'events': 'BIGINT'}"
        source = f"read_csv('{path}/**/*', header = false, columns = {columns})"
        return f"select epoch_ms(window_end) as window_end_ms, item_id, events from {source}"
    columns = "{'window_end_ms': 'BIGINT', 'item_id': 'VARCHAR', 'events': 'BIGINT'}"
    return f"select * from read_csv('{path}', header = true, columns = {columns})"
