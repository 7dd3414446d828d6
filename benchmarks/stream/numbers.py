"""Items to dense numbers, a column at a time: a hash table in NumPy, by the hashes that name items everywhere in the stream."""

import numpy as np
import pyarrow as pa

from dynmm_core.events.hashing import hash64

_FREE = np.uint64(0)
_BLOCK_ROWS = 1 << 15  # work in blocks stays in the processor's cache


class ItemNumbers:
    """The number of each item, from 1 in order of appearance; equal hashes (one in 2^64 pairs) are one item."""

    def __init__(self) -> None:
        self.names = pa.array([], pa.string())
        self._resize(1 << 12)
        self._known = np.zeros(0, np.uint64)

    def __len__(self) -> int:
        return len(self.names)

    def numbers_of(self, items: pa.Array) -> np.ndarray:
        """The number (n,) int64 of each item id; new ones get theirs."""
        blocks = range(0, len(items), _BLOCK_ROWS)
        return np.concatenate([np.zeros(0, np.int64), *(self._numbers_of(items.slice(row, _BLOCK_ROWS)) for row in blocks)])

    def _numbers_of(self, items: pa.Array) -> np.ndarray:
        hashes = hash64(items)
        hashes[hashes == _FREE] = 1
        numbers = self._find(hashes)
        unknown = np.flatnonzero(numbers == 0)
        if len(unknown):
            new, first = np.unique(hashes[unknown], return_index=True)
            in_order = np.argsort(first)
            self._add(new[in_order], items.take(pa.array(unknown[first[in_order]])))
            numbers[unknown] = self._find(hashes[unknown])
        return numbers

    def _find(self, hashes: np.ndarray) -> np.ndarray:
        """The numbers (n,) of hashes, 0 where there is none."""
        slots = (hashes & self._mask).astype(np.int64)
        keys = self._keys[slots]
        numbers = self._numbers[slots].astype(np.int64)
        elsewhere = np.flatnonzero(keys != hashes)
        while len(elsewhere):
            elsewhere = elsewhere[self._keys[slots[elsewhere]] != _FREE]
            slots[elsewhere] = (slots[elsewhere] + 1) & int(self._mask)
            numbers[elsewhere] = self._numbers[slots[elsewhere]]
            elsewhere = elsewhere[self._keys[slots[elsewhere]] != hashes[elsewhere]]
        return numbers

    def _add(self, hashes: np.ndarray, names: pa.Array) -> None:
        """Enter distinct hashes (n,) that are not there yet."""
        first = len(self.names) + 1
        self.names = pa.concat_arrays([self.names, names.cast(pa.string())])
        self._known = np.concatenate([self._known, hashes])
        if 2 * len(self.names) > len(self._keys):
            self._resize(1 << (2 * len(self.names)).bit_length())
            hashes, first = self._known, 1
        self._place(hashes, np.arange(first, first + len(hashes)))

    def _place(self, hashes: np.ndarray, numbers: np.ndarray) -> None:
        slots = (hashes & self._mask).astype(np.int64)
        while len(hashes):
            free = self._keys[slots] == _FREE
            self._keys[slots[free]] = hashes[free]  # of several for one slot the last is in
            placed = self._keys[slots] == hashes
            self._numbers[slots[placed]] = numbers[placed]
            hashes, numbers = hashes[~placed], numbers[~placed]
            slots = (slots[~placed] + 1) & int(self._mask)

    def _resize(self, slots: int) -> None:
        self._keys, self._numbers = np.zeros(slots, np.uint64), np.zeros(slots, np.int32)
        self._mask = np.uint64(slots - 1)
