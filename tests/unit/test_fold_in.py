"""New items get a base latent from what came before their events: by hand, in any order, and with nothing of the future."""

import numpy as np
import pytest
import torch

from dynmm_core.adapt.fold_in import SHRINK, FoldedItems
from dynmm_core.adapt.tail import slides
from dynmm_core.model.aligner import BaseAligner
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.sasrec import SASRec
from dynmm_core.randomness import torch_generator
from tests.unit.test_adapt_loop import BASE_ITEMS, CUT, loop_over, run, stream, total

ITEMS = 20


def base() -> FrozenBase:
    model = SASRec(ITEMS, 8, layers=1, heads=1, max_length=5, dropout=0.0)
    model.initialise(torch_generator(0, 0, "test"))
    aligner = BaseAligner(8, 8)
    aligner.fit(model.item_embedding.weight.detach()[1:])
    return FrozenBase(model, aligner, torch.device("cpu"))


def test_a_new_item_is_the_shrunk_mean_of_what_came_before_its_events() -> None:
    frozen = base()
    folded = FoldedItems(frozen)
    # Item 22: after 1 and 2, then after 3 alone; what the base does not know (21, 22) says nothing. Item 21: after nothing.
    items = np.array([22, 5, 22, 21, 22])
    before = np.array([[2, 1, 0], [9, 9, 9], [21, 3, 22], [0, 0, 0], [21, 22, 0]])
    folded.observe(items, before)
    e_cf, z_base = folded.tables(23)
    known_e, known_z = frozen.item_tables(ITEMS)
    weight = 2 / (2 + SHRINK)
    for table, known in ((e_cf, known_e), (z_base, known_z)):
        expected = weight * ((known[1] + known[2]) / 2 + known[3]) / 2
        assert torch.allclose(table[22], expected, atol=1e-5)
        assert not table[21].any() and not table[23].any()
        assert torch.equal(table[: ITEMS + 1], known)
    assert folded.folded == 1


def test_the_order_of_events_and_slides_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    items, before = rng.integers(15, 31, 200), rng.integers(0, 31, (200, 4))
    whole, parts = FoldedItems(base()), FoldedItems(base())
    whole.observe(items, before)
    order = rng.permutation(200)
    for rows in np.array_split(order, 7):
        parts.observe(items[rows], before[rows])
    # Every item is written once more, since a product of other rows has other last bits.
    parts.observe(items[:0], before[:0])
    parts._set(np.flatnonzero(parts._events))
    whole._set(np.flatnonzero(whole._events))
    for one, other in zip(whole.tables(30), parts.tables(30), strict=True):
        assert torch.equal(one, other)


def test_the_base_itself_never_changes() -> None:
    frozen = base()
    before = [table.clone() for table in frozen.item_tables(25)]
    FoldedItems(frozen).observe(np.array([21, 24]), np.array([[1, 2], [3, 0]]))
    assert all(torch.equal(*pair) for pair in zip(before, frozen.item_tables(25), strict=True))


def test_a_version_shows_new_items_of_earlier_slides_alone() -> None:
    log = stream()
    first, second, *_ = slides(log, CUT)
    loop = loop_over(log)
    born = np.unique(first.item_idx[first.item_idx > BASE_ITEMS])
    assert len(born) and not loop.published[-1].z.whole[BASE_ITEMS + 1 :].any()
    loop.step(first)
    served = loop.published[-1]
    assert served.z[torch.from_numpy(born)].any(1).all()
    assert not served.z_base[BASE_ITEMS + 1 :].any()
    every = torch.arange(len(served.z))
    kept = served.z[every]
    loop.step(second)
    assert torch.equal(served.z[every], kept)


def test_absorbing_the_slides_again_gives_the_same_vectors() -> None:
    log = stream()
    stepped, absorbed = loop_over(log), loop_over(log)
    for slide in list(slides(log, CUT))[:8]:
        stepped.step(slide)
        absorbed.absorb(slide)
    for one, other in zip(
        stepped.folded_items.tables(stepped.num_items), absorbed.folded_items.tables(absorbed.num_items), strict=True
    ):
        assert torch.equal(one, other)
    assert stepped.folded_items.folded == absorbed.folded_items.folded > 0


@pytest.mark.parametrize("fold_in", [True, False])
def test_folding_in_reaches_new_items_and_leaves_static_alone(fold_in: bool) -> None:
    rows = run(stream(), rate=0.0, summaries=False, fold_in=fold_in)
    assert (total(rows, "adapted_latents") == total(rows, "static")) is not fold_in
