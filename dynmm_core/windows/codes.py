"""Dense numbers for hashes: what counting and pairing work with instead of 64 bits."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Coded:
    """Hashes as places among the distinct ones: ``distinct`` (d,) uint64 in rising order, ``codes`` (n,) int64."""

    distinct: np.ndarray
    codes: np.ndarray


def encode(hashes: np.ndarray) -> Coded:
    """Code the hashes (n,) uint64."""
    row_bits = len(hashes).bit_length()
    # As in ``stable_order``: plain integers are sorted, each a hash whose low bits have made room for its row.
    packed = hashes >> np.uint64(row_bits)
    packed <<= np.uint64(row_bits)
    packed |= np.arange(len(hashes), dtype=np.uint64)
    packed.sort()
    order = (packed & np.uint64((1 << row_bits) - 1)).view(np.int64)
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(hashes)])
    distinct = ordered[starts]
    if (distinct[1:] < distinct[:-1]).any():
        return _encode_alike(hashes)
    codes = np.empty(len(hashes), np.int64)
    codes[order] = np.repeat(np.arange(len(distinct)), np.diff(starts, append=len(hashes)))
    return Coded(distinct, codes)


def _encode_alike(hashes: np.ndarray) -> Coded:
    """Code hashes of which some differ in their low bits alone."""
    distinct, codes = np.unique(hashes, return_inverse=True)
    return Coded(distinct, codes)


def narrow(codes: np.ndarray, distinct: int) -> np.ndarray:
    """The codes (n,) in as few bytes as hold so many distinct ones: uint16 or uint32."""
    return codes.astype(np.uint16 if distinct <= 1 << 16 else np.uint32)
