"""The id hash is part of what is stored and sent: it must never change, and must not depend on how a column lies in memory."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynmm_core.events.hashing import hash64

GOLDEN = {
    "": 0,
    "a": 9060804460481459342,
    "ab": 5274862798913395927,
    "abcdefgh": 18068992928466570885,
    "abcdefghi": 6714908189534784656,
    "x" * 100: 17943875284248955024,
    "é": 2299162898018571294,
}


def test_hashes_are_what_they_always_were() -> None:
    assert dict(zip(GOLDEN, hash64(pa.array(list(GOLDEN))).tolist(), strict=True)) == GOLDEN


@given(st.lists(st.text(max_size=30), min_size=1, max_size=20), st.integers(0, 19))
def test_a_hash_depends_on_the_id_alone(ids: list[str], start: int) -> None:
    alone = [int(hash64(pa.array([text]))[0]) for text in ids]
    column = pa.array(ids, pa.string())
    assert hash64(column).tolist() == alone
    assert hash64(column.slice(start)).tolist() == alone[start:]
    assert hash64(column.cast(pa.large_string())).tolist() == alone
    assert hash64(pa.chunked_array([column[:start], column[start:]])).tolist() == alone


def test_ids_that_differ_a_little_spread_over_buckets_and_do_not_collide() -> None:
    hashes = hash64(pa.array([f"{number:012}" for number in range(200_000)]))
    assert len(np.unique(hashes)) == 200_000
    shares = np.bincount((hashes % np.uint64(16)).astype(int)) / 200_000
    assert abs(shares - 1 / 16).max() < 0.003


def test_what_is_no_id_column_is_refused() -> None:
    with pytest.raises(TypeError, match="int64"):
        hash64(pa.array([1]))
    with pytest.raises(ValueError, match="1 of 2 are null"):
        hash64(pa.array(["a", None]))
    assert hash64(pa.array([], pa.string())).tolist() == []
