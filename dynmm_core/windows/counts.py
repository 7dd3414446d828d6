"""Integer counts per item and pane: what a bucket says about a slide, and their sum over buckets."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.windows.codes import Coded, narrow
from dynmm_core.windows.horizons import PANE_MS
from dynmm_core.windows.order import stable_order

COUNT_SCHEMA = pa.schema([("item_id", pa.string()), ("pane_start_ms", pa.int64()), ("events", pa.int64()), ("users", pa.int64())])


def item_table(items: Coded, arrived: np.ndarray, item_ids: pa.Array) -> pa.Table:
    """The distinct items by place: hash and id; no id for those that none of the events (n,) has.

    ``item_ids``: the ids in order of arrival, of which each event's is at ``arrived`` (n,).
    """
    rows = np.full(len(items.distinct), -1)
    rows[items.codes[::-1]] = arrived[::-1]
    return pa.table([pa.array(items.distinct), item_ids.take(pa.array(rows, mask=rows < 0))], ["item_hash", "item_id"])


def count_items(event_time_ms: np.ndarray, users: Coded, items: Coded) -> pa.Table:
    """Events and distinct users of every (pane, item) that has some, of events in order of time (n,), at least one.

    As a bucket sends them: ``item`` is a place in ``items.distinct``, and numbers take 32 bits. Rows by (pane, item).
    """
    panes = event_time_ms // PANE_MS
    user_bits, item_bits = len(users.distinct).bit_length(), len(items.distinct).bit_length()
    visits = (_cells(panes - panes[0], items.codes, len(items.distinct)) << user_bits) | users.codes
    visits.sort()
    firsts = _run_starts(visits)  # of each user at each cell
    cells = visits[firsts] >> user_bits
    starts = _run_starts(cells)
    distinct = np.diff(starts, append=len(cells))
    events = np.diff(firsts[starts], append=len(visits))
    places = narrow(cells[starts] & ((1 << item_bits) - 1), len(items.distinct))
    starts_ms = (panes[0] + (cells[starts] >> item_bits)) * PANE_MS
    columns = [places, starts_ms, events.astype(np.int32), distinct.astype(np.int32)]
    return pa.table([pa.array(column) for column in columns], ["item", "pane_start_ms", "events", "users"])


def name_items(counts: pa.Table, item_ids: pa.ChunkedArray) -> pa.Table:
    """What :func:`count_items` returned as a table of ``COUNT_SCHEMA``; ``item_ids`` (d,) by place."""
    names = item_ids.combine_chunks().take(counts["item"].combine_chunks())
    return pa.table([names, *(counts[name] for name in COUNT_SCHEMA.names[1:])], COUNT_SCHEMA.names).cast(COUNT_SCHEMA)


def sum_counts(parts: Sequence[pa.Table]) -> pa.Table:
    """The counts of user buckets as one table by (pane_start_ms, item_id); exact for users, who are in one bucket each."""
    table = pa.concat_tables([COUNT_SCHEMA.empty_table(), *parts])
    if not table.num_rows:
        return table
    encoded = table["item_id"].combine_chunks().dictionary_encode()
    distinct, codes = encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)
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


def _run_starts(ordered: np.ndarray) -> np.ndarray:
    """The first place of each run of equal values."""
    return np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
