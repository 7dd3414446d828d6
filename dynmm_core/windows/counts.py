"""Integer counts per item and pane: what a bucket says about a slide, and their sum over buckets."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.windows.horizons import PANE_MS
from dynmm_core.windows.order import stable_order

COUNT_SCHEMA = pa.schema([("item_id", pa.string()), ("pane_start_ms", pa.int64()), ("events", pa.int64()), ("users", pa.int64())])


def count_items(events: pa.Table) -> pa.Table:
    """Events and distinct users of every (pane, item) that has some; events in canonical order, rows by pane."""
    items, item_codes = _codes(events["item_id"])
    users, user_codes = _codes(events["user_id"])
    panes = events["event_time_ms"].to_numpy() // PANE_MS
    user_bits = len(users).bit_length()
    visits = (_cells(panes - panes[0], item_codes, len(items)) << user_bits) | user_codes
    visits.sort()
    firsts = _run_starts(visits)  # of each user at each cell
    cells = visits[firsts] >> user_bits
    starts = _run_starts(cells)
    distinct = np.diff(starts, append=len(cells))
    return _table(int(panes[0]) * PANE_MS, items, cells[starts], np.diff(firsts[starts], append=len(visits)), distinct)


def sum_counts(parts: Sequence[pa.Table]) -> pa.Table:
    """The counts of user buckets as one table by (pane_start_ms, item_id); exact for users, who are in one bucket each."""
    table = pa.concat_tables([COUNT_SCHEMA.empty_table(), *parts])
    if not table.num_rows:
        return table
    distinct, codes = _codes(table["item_id"])
    order = pc.sort_indices(distinct).to_numpy()
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    starts_ms = table["pane_start_ms"].to_numpy()
    first_ms = int(starts_ms.min())
    cells = _cells((starts_ms - first_ms) // PANE_MS, places[codes], len(distinct))
    rows = stable_order(cells)
    cells = cells[rows]
    starts = _run_starts(cells)
    sums = [np.add.reduceat(table[name].to_numpy()[rows], starts) for name in ("events", "users")]
    return _table(first_ms, distinct.take(pa.array(order)), cells[starts], *sums)


def _cells(panes: np.ndarray, places: np.ndarray, items: int) -> np.ndarray:
    """One integer (n,) for each pane after the first, in its upper bits, and place among so many items."""
    return np.asarray((panes << items.bit_length()) | places)


def _table(first_pane_ms: int, items: pa.Array, cells: np.ndarray, events: np.ndarray, users: np.ndarray) -> pa.Table:
    """Rows (n,) from cells over the places in ``items``."""
    bits = len(items).bit_length()
    starts_ms = first_pane_ms + (cells >> bits) * PANE_MS
    columns = [items.take(pa.array(cells & ((1 << bits) - 1))), pa.array(starts_ms), pa.array(events), pa.array(users)]
    return pa.Table.from_arrays(columns, schema=COUNT_SCHEMA)


def _codes(values: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """The distinct values in order of appearance, and for each value the place of its own among them (n,) int64."""
    encoded = values.combine_chunks().dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)


def _run_starts(ordered: np.ndarray) -> np.ndarray:
    """The first place of each run of equal values."""
    return np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
