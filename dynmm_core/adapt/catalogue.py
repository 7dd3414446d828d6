"""Dense indices for opaque ids, given out in an order that no batch size or process count can change."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

UNKNOWN = 0


class IdMap:
    """Maps text ids to indices from 1 upwards; 0 stands for padding and for an unknown id."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.ids: list[str] = [""]
        self._index: dict[str, int] = {}
        for one in ids:
            self._add(one)

    def __len__(self) -> int:
        return len(self.ids) - 1

    def _add(self, one: str) -> None:
        if one not in self._index:
            self._index[one] = len(self.ids)
            self.ids.append(one)

    def lookup(self, ids: pa.ChunkedArray | pa.Array) -> np.ndarray:
        """Return the index (n,) int64 of each id, 0 where it is unknown."""
        codes, distinct = dictionary(ids)
        known = np.fromiter((self._index.get(one, UNKNOWN) for one in distinct), np.int64, len(distinct))
        return np.take(known, codes)

    def add_in_order(self, ids: pa.ChunkedArray | pa.Array, event_time_ms: np.ndarray) -> np.ndarray:
        """Give every new id an index in the order (first event time, id), and return the index (n,) of each row."""
        codes, distinct = dictionary(ids)
        first = np.full(len(distinct), np.iinfo(np.int64).max)
        np.minimum.at(first, codes, event_time_ms)
        new = [position for position, one in enumerate(distinct) if one not in self._index]
        for position in sorted(new, key=lambda p: (first[p], distinct[p])):
            self._add(distinct[position])
        known = np.fromiter((self._index[one] for one in distinct), np.int64, len(distinct))
        return np.take(known, codes)


def dictionary(ids: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, Sequence[str]]:
    """Return (codes (n,), the distinct ids) of a text column."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.string())
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.to_pylist()
