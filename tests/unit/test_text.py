"""The text encoding: what is alike, what is absent, and what a table of items says."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dynmm_core.adapt.pretrain import text_vectors
from dynmm_core.datasets.item_text import read_item_texts
from dynmm_core.errors import UserError
from dynmm_core.model.bundle import Bundle
from dynmm_core.model.text_encoder import BUCKETS, encode_texts
from tests.replay.tiny import bundle_tiny, prepare_tiny, tiny_events

TEXTS = ["Toy Story, animation comedy", "", "A toy's story: COMEDY animation", "War drama of 1915", "drama, war"]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_texts_with_the_same_words_are_alike_and_an_empty_one_is_zero() -> None:
    vectors = encode_texts(TEXTS, dim=4)
    assert vectors.shape == (5, 4) and vectors.dtype == np.float32
    assert not vectors[1].any()
    assert cosine(vectors[0], vectors[2]) > 0.6 > 0.2 > cosine(vectors[0], vectors[3])
    assert cosine(vectors[3], vectors[4]) > 0.6


def test_all_directions_together_keep_every_inner_product() -> None:
    vectors = encode_texts(TEXTS, dim=BUCKETS)
    similarity = vectors @ vectors.T
    assert similarity[0, 0] == pytest.approx(1.0, abs=1e-5)
    assert similarity[0, 3] == pytest.approx(0.0, abs=1e-5)


def test_the_order_of_items_changes_no_vector_but_for_rounding() -> None:
    forth, back = encode_texts(TEXTS, dim=3), encode_texts(TEXTS[::-1], dim=3)
    assert np.allclose(forth, back[::-1], atol=1e-5)


def test_words_come_from_the_table_of_items_and_reach_the_base(tmp_path: Path) -> None:
    log = prepare_tiny(tmp_path, tiny_events())
    with pytest.raises(UserError, match="has no table of items"):
        text_vectors(log, ["i1"])
    rows = {"item_id": ["i1", "i2"], "title": ["Toy Story", None], "categories": [["Comedy", "Animation"], ["Drama"]]}
    pq.write_table(pa.table(rows), log.path / "items.parquet")
    assert read_item_texts(log, ["i2", "i1", "none"]) == [" Drama", "Toy Story Comedy Animation", ""]

    bundle_tiny(log, tmp_path / "bundle", epochs=1, with_text=True)
    bundle = Bundle.load(tmp_path / "bundle")
    base = bundle.base(torch.device("cpu"))
    ids = bundle.cut_state().item_ids
    text = base.item_text(len(ids) + 5)
    assert text is not None and text.shape == (len(ids) + 6, base.text_dim)
    written = {place + 1 for place, one in enumerate(ids) if one in ("i1", "i2")}
    assert set(text.any(1).nonzero().squeeze(1).tolist()) == written
    assert written
