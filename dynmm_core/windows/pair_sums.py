"""Sums of item pairs over buckets and slides."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dynmm_core.windows.codes import encode

PAIR_SCHEMA = pa.schema([("previous_item", pa.uint64()), ("item", pa.uint64()), ("rule", pa.int64()), ("co_click", pa.int64())])
_BLOCK_ROWS = 1 << 14  # work in blocks stays in the processor's cache, and asks for no fresh memory


def pair_table(previous_item: np.ndarray, item: np.ndarray, rule: np.ndarray, co_click: np.ndarray) -> pa.Table:
    """Each pair once: hashes (n,) uint64, sums of fixed-point weights (n,) int64; without a copy."""
    return pa.Table.from_arrays([pa.array(column) for column in (previous_item, item, rule, co_click)], schema=PAIR_SCHEMA)


def merge_pairs(parts: Sequence[pa.Table]) -> pa.Table:
    """Sum tables of ``PAIR_SCHEMA``, of several buckets or slides: exact, in any order and grouping.

    Each part lies by (previous_item, item), as :func:`pair_table` and this function return it, or a slice of it.

    Raises:
        ValueError: a part is not in order.
    """
    columns = [[table[name].to_numpy() for name in PAIR_SCHEMA.names] for table in parts if table.num_rows]
    if any((previous[1:] < previous[:-1]).any() for previous, *_ in columns):
        raise ValueError("previous_item: a part to be merged is not in order")
    if not columns:
        return PAIR_SCHEMA.empty_table()
    bounds = _block_bounds([previous for previous, *_ in columns])
    cuts = [[*np.searchsorted(previous, bounds).tolist(), len(previous)] for previous, *_ in columns]
    merged = []
    for block in range(len(bounds)):
        slices = [(part, slice(*cut[block : block + 2])) for part, cut in zip(columns, cuts, strict=True)]
        inside = [[column[rows] for column in part] for part, rows in slices if rows.stop > rows.start]
        merged.append(_merge_block([np.concatenate(column) for column in zip(*inside, strict=True)]))
    return pair_table(*(np.concatenate(column) for column in zip(*merged, strict=True)))


def _block_bounds(previous: Sequence[np.ndarray]) -> np.ndarray:
    """Where blocks of previous items begin that hold some ``_BLOCK_ROWS`` rows each; the first one has something."""
    longest = max(previous, key=len)
    step = max(1, _BLOCK_ROWS * len(longest) // sum(map(len, previous)))
    bounds = np.unique(longest[::step])
    bounds[0] = min(part[0] for part in previous)
    return bounds


def _merge_block(columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Columns of ``PAIR_SCHEMA`` (n,) in any order, with each pair once and in order."""
    previous_item, item, *weights = columns
    order = _pair_order(previous_item, item)
    previous_item, item = previous_item[order], item[order]
    is_last = np.ones(len(order), bool)
    is_last[:-1] = (item[1:] != item[:-1]) | (previous_item[1:] != previous_item[:-1])
    ends = np.flatnonzero(is_last)
    return [previous_item[ends], item[ends], *(sum_runs(column[order], ends) for column in weights)]


def _pair_order(previous_item: np.ndarray, item: np.ndarray) -> np.ndarray:
    """The rows (n,) by (previous_item, item): from as many leading bits of the hash as one integer holds, mostly enough."""
    last_rows = run_ends(previous_item, 0)
    runs = encode(previous_item[last_rows])
    row_bits = len(item).bit_length()
    kept_bits = 63 - row_bits - len(runs.distinct).bit_length()
    packed = np.repeat(runs.codes, np.diff(last_rows, prepend=-1)) << kept_bits
    packed |= (item >> np.uint64(64 - kept_bits)).view(np.int64)
    packed <<= row_bits
    packed |= np.arange(len(item))
    packed.sort()
    order: np.ndarray = packed & ((1 << row_bits) - 1)
    alike = (packed[1:] ^ packed[:-1]) < 1 << row_bits
    if (alike & (item[order[1:]] != item[order[:-1]])).any():
        return np.lexsort((item, previous_item))
    return order


def run_ends(ordered: np.ndarray, low_bits: int) -> np.ndarray:
    """The last place of each run of values (n,) that are equal but for their low bits."""
    is_last = np.ones(len(ordered), bool)
    np.greater_equal(ordered[1:] ^ ordered[:-1], 1 << low_bits, out=is_last[:-1])
    return np.flatnonzero(is_last)


def sum_runs(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The sum of the values (n,) of each run that ends at ``ends`` (m,); correct also where the running total overflows."""
    sums: np.ndarray = np.cumsum(values)[ends]
    sums[1:] -= sums[:-1].copy()
    return sums
