"""The largest values of every row of a ragged table."""

import numpy as np

_KEY_BITS, _FLOAT_BITS = 63, 31
_MOST_BITS = (1 << _FLOAT_BITS) - 1


def row_tops(values: np.ndarray, starts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where in each row its largest values lie (r, size), and which of these places hold one that is above 0.

    The first of equal values comes first.

    Args:
        values: (m,) float32, none of them below 0 and one at least; starts: (r + 1,) where each row of them begins.
    """
    sizes = np.diff(starts)
    at, found = np.zeros((len(sizes), size), np.int64), np.arange(size) < sizes[:, None]
    # The bits of positive floats are in their order. Sorting whole numbers, which hold row, value and place, is ten times
    # faster than to sort by several keys; as many rows at once as the bits allow.
    place_bits = int(sizes.max()).bit_length()
    rows_at_once = 1 << (_KEY_BITS - _FLOAT_BITS - place_bits)
    bits = (_MOST_BITS - values.view(np.int32)).astype(np.int64)
    for first in range(0, len(sizes), rows_at_once):
        of = sizes[first : first + rows_at_once]
        low, high = starts[first], starts[first + len(of)]
        start = starts[first : first + len(of)] - low
        row = np.repeat(np.arange(len(of)), of)
        packed = np.sort((row << _FLOAT_BITS | bits[low:high]) << place_bits | np.arange(high - low) - start[row])
        if len(packed):
            best = packed[np.minimum(start[:, None] + np.arange(size), len(packed) - 1)] & ((1 << place_bits) - 1)
            at[first : first + len(of)] = np.minimum(low + start[:, None] + best, len(values) - 1)
    return at, found & (values[at] > 0)
