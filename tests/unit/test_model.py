"""Backbone and adapter: causality, the base as starting point, seeds, round trips."""

import numpy as np
import pytest
import torch

from dynmm_core.adapt.trainers import new_learners
from dynmm_core.errors import UserError
from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.aligner import BaseAligner
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.devices import open_device
from dynmm_core.model.examples import Examples
from dynmm_core.model.features import ITEM_SUMMARY_DIM, USER_SUMMARY_DIM
from dynmm_core.model.losses import NegativeSampler
from dynmm_core.model.online import OnlineSettings
from dynmm_core.model.pretraining import Sequences, cut_chunks
from dynmm_core.model.sasrec import SASRec, encode_histories
from dynmm_core.model.trainer import AdapterTrainer
from dynmm_core.randomness import torch_generator

EVENTS = 40  # of a slide, learned from in one full batch


def backbone(items: int = 20, width: int = 16) -> SASRec:
    model = SASRec(items, width, layers=2, heads=2, max_length=10, dropout=0.0)
    model.initialise(torch_generator(0, 0, "test"))
    return model.eval()


def base() -> FrozenBase:
    model = backbone()
    aligner = BaseAligner(16, 16)
    aligner.fit(model.item_embedding.weight.detach()[1:])
    return FrozenBase(model, aligner, torch.device("cpu"))


def examples(frozen: FrozenBase, n: int = EVENTS) -> Examples:
    generator = torch.Generator().manual_seed(5)
    e_cf, z_base = frozen.item_tables(25)
    r_u = torch.randn(n, 16, generator=generator)
    return Examples(
        h_base=frozen.aligner.align_users(r_u), r_u=r_u, s_user=torch.randn(n, USER_SUMMARY_DIM, generator=generator),
        z_base=z_base, e_cf=e_cf, s_item=torch.randn(26, ITEM_SUMMARY_DIM, generator=generator),
        active=torch.ones(26, dtype=torch.bool), positives=torch.randint(1, 4, (n,), generator=generator),
        negatives=NegativeSampler(np.ones(26)),
    )  # fmt: skip


def trainer(frozen: FrozenBase, rate: float = 1e-2) -> AdapterTrainer:
    settings = OnlineSettings(learning_rate=rate, stability_weight=1e-3, batch_size=EVENTS)
    return new_learners(frozen, settings, seed=1).adapter


def test_a_state_depends_on_nothing_that_comes_later() -> None:
    model = backbone()
    items = torch.tensor([[1, 2, 3, 4, 5]])
    changed = torch.tensor([[1, 2, 3, 9, 0]])
    assert torch.equal(model(items)[0, :3], model(changed)[0, :3])


def test_encoding_a_history_alone_or_among_others_gives_the_same_bits() -> None:
    model = backbone()
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 11, 200)
    histories = np.where(np.arange(10) < lengths[:, None], rng.integers(1, 21, (200, 10)), 0)
    many = encode_histories(model, torch.from_numpy(histories), torch.from_numpy(lengths))
    for row in (0, 7, 199):
        one = encode_histories(model, torch.from_numpy(histories[row : row + 1]), torch.from_numpy(lengths[row : row + 1]))
        assert torch.equal(one[0], many[row])
    assert not many[torch.from_numpy(lengths == 0)].any()


def test_growing_the_backbone_keeps_what_it_knew() -> None:
    model = backbone()
    before = model.item_embedding.weight.detach().clone()
    model.grow(30, torch_generator(0, 1, "test"))
    assert model.num_items == 30
    assert torch.equal(model.item_embedding.weight.detach()[:21], before)


def test_chunks_cover_every_event_as_a_target_once() -> None:
    sequences = Sequences.from_events(np.repeat([1, 2, 3], [45, 1, 11]), np.arange(57))
    first, length = cut_chunks(sequences, 10, np.random.default_rng(0))
    targets = np.concatenate([np.arange(f + 1, f + n) for f, n in zip(first, length, strict=True)])
    assert sorted(targets.tolist()) == [*range(1, 45), *range(47, 57)]
    assert length.max() <= 11


def test_before_the_first_update_every_latent_is_its_base() -> None:
    adapter = OnlineAdapter(16, 16, ITEM_SUMMARY_DIM, USER_SUMMARY_DIM)
    adapter.initialise(torch_generator(0, 0, "adapter"))
    z_base = torch.randn(9, 16)
    assert torch.equal(adapter.item(z_base, torch.randn(9, 16), torch.randn(9, ITEM_SUMMARY_DIM)), z_base)


def test_eq_1_by_hand() -> None:
    adapter = OnlineAdapter(2, 2, 1, 1).item
    with torch.no_grad():
        adapter.w1.weight.copy_(torch.tensor([[1.0, 0.0, 1.0], [0.0, -1.0, 0.0]]))
        adapter.w1.bias.zero_()
        adapter.w2.weight.copy_(torch.eye(2))
        adapter.w2.bias.copy_(torch.tensor([0.5, 0.0]))
        adapter.gate.weight.zero_()
        adapter.gate.bias.zero_()
    z = adapter(torch.tensor([[10.0, 20.0]]), torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0]]))
    assert z.tolist() == [[10.0 + 0.5 * (3.0 + 0.5), 20.0]]


def test_an_item_unknown_to_the_base_has_zero_vectors() -> None:
    e_cf, z_base = base().item_tables(40)
    assert e_cf.shape == z_base.shape == (41, 16)
    assert not e_cf[21:].any() and not z_base[21:].any() and not z_base[0].any()


def test_centring_changes_no_ranking() -> None:
    frozen = base()
    e_cf, z_base = frozen.item_tables(20)
    users = torch.randn(5, 16)
    assert torch.equal((users @ e_cf[1:].T).argsort(1), (users @ z_base[1:].T).argsort(1))


def test_learning_lowers_the_loss_it_names() -> None:
    frozen = base()
    learner, data = trainer(frozen), examples(frozen)

    def loss() -> float:
        with torch.no_grad():
            h = learner.adapter.user(data.h_base, data.r_u, data.s_user)
            z = learner.adapter.item(data.z_base, data.e_cf, data.s_item)
            return float(torch.nn.functional.cross_entropy(h @ z[1:].T, data.positives - 1))

    before = loss()
    for slide in range(30):
        assert learner.learn(data, slide)
    assert loss() < before - 0.5


def test_equal_seeds_learn_equal_bits_and_the_state_goes_to_bytes_and_back() -> None:
    frozen = base()
    first, second = trainer(frozen), trainer(frozen)
    data = examples(frozen)
    for slide in range(3):
        first.learn(data, slide)
    second.from_bytes(first.to_bytes())
    assert second.to_bytes() == first.to_bytes()
    first.learn(data, 4)
    second.learn(data, 4)
    assert second.to_bytes() == first.to_bytes()


def test_a_large_slide_is_learned_from_whole_in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = base()
    settings = OnlineSettings(learning_rate=1e-2, stability_weight=0.0, batch_size=4, max_steps=3, guard=False)
    learner = new_learners(frozen, settings, seed=1).adapter
    steps: list[list[int]] = []
    monkeypatch.setattr(learner, "_step", lambda _, rows, *__: steps.append(rows.tolist()) or torch.zeros(()))
    learner.learn(examples(frozen, n=40), 1)
    assert len(steps) == 3
    assert sorted(row for step in steps for row in step) == list(range(40))


def test_a_rate_of_zero_learns_nothing() -> None:
    frozen = base()
    learner = trainer(frozen, rate=0.0)
    before = learner.to_bytes()
    assert learner.learn(examples(frozen), 1)
    assert learner.to_bytes() == before


def test_a_non_finite_update_is_rejected_and_everything_goes_back() -> None:
    frozen = base()
    learner, data = trainer(frozen), examples(frozen)
    learner.learn(data, 1)
    before = learner.to_bytes()
    poisoned = Examples(**{**vars(data), "s_user": data.s_user * float("nan")})
    assert not learner.learn(poisoned, 2)
    assert learner.to_bytes() == before


def test_average_follows_quickly_at_first() -> None:
    frozen = base()
    learner, data = trainer(frozen), examples(frozen)
    learner.learn(data, 1)
    raw, served = learner.adapter.item.w2.weight, learner.serving.item.w2.weight
    assert torch.allclose(served, raw * (1 - 2 / 11))


def test_text_needs_an_aligner_fitted_with_text() -> None:
    with pytest.raises(ValueError, match="fitted without text"):
        BaseAligner(4, 4).align_items(torch.zeros(2, 4), torch.zeros(2, 3))


def test_a_smaller_joint_space_keeps_the_leading_directions() -> None:
    aligner = BaseAligner(4, 2)
    vectors = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 4.0, 0.01, 0.01])
    aligner.fit(vectors)
    kept = aligner.align_items(vectors)
    assert kept.shape == (50, 2)
    assert torch.allclose(kept.norm(), (vectors - vectors.mean(0)).norm(), rtol=1e-3)


@pytest.mark.parametrize("name", ["meta", "mps", "tpu"])
def test_a_device_that_is_neither_cpu_nor_cuda_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"--device: '{name}' is no device; use cpu or cuda"):
        open_device(name)
