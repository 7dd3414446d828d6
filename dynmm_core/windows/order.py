"""The canonical order of events, and which of them are duplicates."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.events.hashing import hash64

_TIE_BREAKERS = ("event_time_ms", "event_id", "user_id", "item_id")


def sort_canonically(events: pa.Table) -> pa.Table:
    """Rows by (event_time_ms, event_id), then user_id, item_id, and the order given."""
    times = events["event_time_ms"].to_numpy()
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    equal_next = ordered[1:] == ordered[:-1]
    if equal_next.any():
        # Text is compared only where times tie: that is what makes sorting cheap.
        tied = np.zeros(len(order), bool)
        tied[1:] |= equal_next
        tied[:-1] |= equal_next
        rows = order[tied]
        keys = events.select(_TIE_BREAKERS).take(pa.array(rows)).append_column("row", pa.array(rows))
        by = [(name, "ascending") for name in (*_TIE_BREAKERS, "row")]
        order[tied] = rows[pc.sort_indices(keys, sort_keys=by).to_numpy()]
    # Taken also when in order already: equal rows then lie in equal buffers, and are sent as equal bytes.
    return events.take(pa.array(order))


def drop_duplicates(events: pa.Table) -> pa.Table:
    """The first row, in the order given, of every (user_id, event_id)."""
    ids = np.sort(hash64(events["event_id"]))
    if not (ids[1:] == ids[:-1]).any():
        return events
    keys = events.select(["event_id", "user_id"]).append_column("row", pa.array(np.arange(len(ids))))
    first = keys.group_by(["event_id", "user_id"]).aggregate([("row", "min")])["row_min"].to_numpy()
    return events.take(pa.array(np.sort(first)))
