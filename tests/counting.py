"""Counts of a table of events, by the machines that count a bucket's slide."""

import pyarrow as pa

from dynmm_core.windows.codes import encode
from dynmm_core.windows.counts import count_items, item_table, name_items, sum_counts
from dynmm_core.windows.hashes import EventHashes
from dynmm_core.windows.order import time_order


def bucket_counts(events: pa.Table) -> pa.Table:
    """What one bucket counts, named as the assembler names it."""
    order = time_order(events["event_time_ms"].to_numpy(), EventHashes.of(events))
    times, hashes = events["event_time_ms"].to_numpy()[order], EventHashes.of(events)[order]
    items = encode(hashes.item)
    names = item_table(items, order, events["item_id"].combine_chunks())
    return name_items(count_items(times, encode(hashes.user), items), names["item_id"])


def counts_of(events: pa.Table) -> pa.Table:
    """The slide's counts, at least one event."""
    return sum_counts([bucket_counts(events)])
