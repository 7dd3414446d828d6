"""A 64-bit hash of ids that is the same in every process, release and machine."""

import numpy as np
import pyarrow as pa

from dynmm_core.events.byte_windows import windows

_MULTIPLIER = np.uint64(0x9FB21C651E98DF25)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_WORD = 8
# _TAIL_MASKS[n] keeps the first n bytes of a little-endian word.
_TAIL_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)


def hash64(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Hash each id's UTF-8 bytes to (n,) uint64, by NumPy over the Arrow buffers.

    Raises:
        TypeError: the column is no string column.
        ValueError: it has nulls.
    """
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    if not (pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        raise TypeError(f"ids: {ids.type} is no string type")
    if ids.null_count:
        raise ValueError(f"ids: {ids.null_count} of {len(ids)} are null")
    starts, lengths, data = _buffers(ids)
    hashes: np.ndarray = lengths.astype(np.uint64) * _MULTIPLIER
    rows: np.ndarray | None = None  # those that go on behind the words so far; None: all
    while len(starts):
        word = windows(data, starts, _WORD).view("<u8")[:, 0]
        if int(lengths.min()) < _WORD:
            word = word & _TAIL_MASKS[np.minimum(lengths, _WORD)]
        mixed = _scramble(word)
        mixed ^= hashes if rows is None else hashes[rows]
        mixed *= _MULTIPLIER
        mixed ^= mixed >> np.uint64(32)
        if rows is None:
            hashes = mixed
        else:
            hashes[rows] = mixed
        longer = lengths > _WORD
        starts, lengths = starts + _WORD, lengths - _WORD
        if not longer.all():
            kept = np.flatnonzero(longer)
            rows = kept if rows is None else rows[kept]
            starts, lengths = starts[kept], lengths[kept]
    return _scramble(hashes)


def _buffers(ids: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per id its first byte and length (n,) int64; and the bytes, with a word's behind them."""
    _, offset_buffer, data_buffer = ids.buffers()
    if not len(ids) or offset_buffer is None:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, np.zeros(0, np.uint8)
    width = np.int32 if pa.types.is_string(ids.type) else np.int64
    bounds = np.frombuffer(offset_buffer, width)[ids.offset : ids.offset + len(ids) + 1].astype(np.int64)
    first, last = int(bounds[0]), int(bounds[-1])
    data = np.zeros(last - first + _WORD, np.uint8)
    if data_buffer is not None:
        data[: last - first] = np.frombuffer(data_buffer, np.uint8)[first:last]
    return bounds[:-1] - first, np.diff(bounds), data


def _scramble(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit."""
    mixed: np.ndarray = values ^ (values >> np.uint64(30))
    mixed *= _MIX_1
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MIX_2
    mixed ^= mixed >> np.uint64(31)
    return mixed
