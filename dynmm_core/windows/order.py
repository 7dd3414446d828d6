"""The canonical order of events, and which of them are duplicates."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.events.hashing import hash64

_TIE_BREAKERS = ("event_time_ms", "event_id", "user_id", "item_id")
_WORD = 8
_FIRST, _LAST, _LENGTH = (np.uint64(odd) for odd in (0x9FB21C651E98DF25, 0xD6E8FEB86659FD93, 0x9E3779B97F4A7C15))


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


def drop_duplicates(events: pa.Table) -> pa.Table:
    """The first row, in the order given, of every (user_id, event_id)."""
    ids, rows = events["event_id"].combine_chunks(), np.arange(events.num_rows)
    for keys_of in (_outer_bytes, hash64):  # the cheap key first: nearly always it shows that no id comes twice
        again = _repeated(keys_of(ids))
        if not len(again):
            return events
        ids, rows = ids.take(pa.array(again)), rows[again]
    suspects = events.select(["event_id", "user_id"]).take(pa.array(rows)).append_column("row", pa.array(rows))
    first = suspects.group_by(["event_id", "user_id"]).aggregate([("row", "min")])["row_min"].to_numpy()
    if len(first) == len(rows):
        return events
    kept = np.ones(events.num_rows, bool)
    kept[rows] = False
    kept[first] = True
    return events.take(pa.array(np.flatnonzero(kept)))


def _repeated(keys: np.ndarray) -> np.ndarray:
    """The rows (m,), rising, whose key (n,) is not theirs alone."""
    ordered = np.sort(keys)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.flatnonzero(np.isin(keys, repeated)) if len(repeated) else np.zeros(0, np.int64)


def _outer_bytes(ids: pa.Array) -> np.ndarray:
    """A key (n,) uint64 from each id's length, first and last eight bytes: equal for equal ids, and quick."""
    _, offsets, data = ids.buffers()
    if ids.type != pa.string() or not len(ids):
        return hash64(ids)
    bounds = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    lengths = np.diff(bounds)
    if int(lengths.min()) < _WORD:
        return hash64(ids)
    words: np.ndarray = np.ndarray((data.size - _WORD + 1,), "<u8", buffer=data, strides=(1,))
    return words[bounds[:-1]] * _FIRST + words[bounds[1:] - _WORD] * _LAST + lengths.astype(np.uint64) * _LENGTH
