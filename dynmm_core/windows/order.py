"""The canonical order of events, and which of them are duplicates."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.windows.hashes import EventHashes

_TIE_BREAKERS = ("event_time_ms", "event_id", "user_id", "item_id")


def stable_order(values: np.ndarray) -> np.ndarray:
    """The rows (n,) int64 that put the values (n,) int64, none negative, in order; equal ones as given."""
    bits = len(values).bit_length()
    if not len(values) or int(values.max()).bit_length() + bits > 63:
        return np.argsort(values, kind="stable")
    packed = values << bits
    packed |= np.arange(len(values))
    packed.sort()  # sorting plain integers is many times as fast as finding their order
    packed &= (1 << bits) - 1
    return packed


def sort_canonically(events: pa.Table) -> pa.Table:
    """Rows by (event_time_ms, event_id), then user_id, item_id, and the order given."""
    times = events["event_time_ms"].to_numpy()
    in_order = bool((times[1:] >= times[:-1]).all())
    order = np.arange(len(times)) if in_order else stable_order(times - times.min())
    ordered = times if in_order else times[order]
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


def time_order(event_time_ms: np.ndarray, hashes: EventHashes) -> np.ndarray:
    """The rows (n,) that put events by (event_time_ms, hash of event_id), then user, item, and the order given.

    The order of a bucket's own work: the canonical one but for events of one millisecond, and many times as fast.
    """
    order = stable_order(event_time_ms - event_time_ms.min())
    ordered = event_time_ms[order]
    equal_next = ordered[1:] == ordered[:-1]
    if equal_next.any():
        tied = np.zeros(len(order), bool)
        tied[1:] |= equal_next
        tied[:-1] |= equal_next
        rows = order[tied]
        some = hashes[rows]
        order[tied] = rows[np.lexsort((some.item, some.user, some.event, ordered[tied]))]
    return order


def first_of_each(event_time_ms: np.ndarray, hashes: EventHashes, rank: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
    """The first row of every (user, event) as rows, rising; None if no event comes twice. Rows as :func:`time_order` puts them.

    ``rank`` is asked about rows (m,) that agree in time, event, user and item: the lowest of them is the first.
    """
    again = _repeated(hashes.event)
    if not len(again):
        return None
    some, times = hashes[again], event_time_ms[again]
    ranks = np.zeros(len(again), np.int64)
    same = _same_as_next(some.event, some.user, some.item, times)
    if same.any():
        ranks[same] = rank(again[same])
    order = np.lexsort((ranks, some.item, times, some.user, some.event))
    follows = (some.event[order[1:]] == some.event[order[:-1]]) & (some.user[order[1:]] == some.user[order[:-1]])
    kept = np.ones(len(event_time_ms), bool)
    kept[again[order[1:][follows]]] = False
    return None if kept.all() else np.flatnonzero(kept)


def _same_as_next(*columns: np.ndarray) -> np.ndarray:
    """Which rows (n,) agree with a neighbour in every column (n,); agreeing rows lie side by side."""
    equal = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    same = np.zeros(len(columns[0]), bool)
    same[1:] |= equal
    same[:-1] |= equal
    return same


def _repeated(keys: np.ndarray) -> np.ndarray:
    """The rows (m,), rising, whose key (n,) is not theirs alone."""
    ordered = np.sort(keys)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.flatnonzero(np.isin(keys, repeated)) if len(repeated) else np.zeros(0, np.int64)
