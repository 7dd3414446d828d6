"""Dense numbers for hashes: what counting and pairing work with instead of 64 bits."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Coded:
    """Hashes as places among the distinct ones: ``distinct`` (d,) uint64 in rising order, ``codes`` (n,) int64."""

    distinct: np.ndarray
    codes: np.ndarray


def encode(hashes: np.ndarray) -> Coded:
    """Code the hashes (n,) uint64."""
    encoded = pa.array(hashes).dictionary_encode()
    distinct = encoded.dictionary.to_numpy()
    order = np.argsort(distinct)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return Coded(distinct[order], places[encoded.indices.to_numpy()])


def narrow(codes: np.ndarray, distinct: int) -> np.ndarray:
    """The codes (n,) in as few bytes as hold so many distinct ones: uint16 or uint32."""
    return codes.astype(np.uint16 if distinct <= 1 << 16 else np.uint32)
