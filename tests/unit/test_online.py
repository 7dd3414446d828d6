"""Eq. 1 to 3 as a whole: the sum by hand, every way to learn, the paper's letter, the state in bytes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.averaging import average_into
from dynmm_core.model.examples import KeptEvents, kept_losses
from dynmm_core.model.losses import sampled_softmax_loss, stability_loss
from dynmm_core.randomness import torch_generator
from tests.learning import ITEMS, LEARNING, PLAIN, TEXT, base, examples, full_loss, trainer


@pytest.mark.parametrize("name", LEARNING)
def test_equal_seeds_learn_equal_bits_and_the_state_goes_to_bytes_and_back(name: str) -> None:
    frozen = base(TEXT)
    options = {**LEARNING[name], "held_out_events": 10, "batch_size": 16, "replay_capacity": 70}
    first, second = trainer(frozen, **options), trainer(frozen, **options)
    for slide in range(4):
        first.learn(examples(frozen, seed=slide), slide)
    second.from_bytes(first.to_bytes())
    assert second.to_bytes() == first.to_bytes()
    for slide in range(4, 7):
        assert first.learn(examples(frozen, seed=slide), slide) == second.learn(examples(frozen, seed=slide), slide)
    assert second.to_bytes() == first.to_bytes()


def test_the_loss_of_one_seed_is_one_number() -> None:
    frozen = base()
    data, rows = examples(frozen), torch.arange(40)
    values = [trainer(frozen)._loss(data, rows, None, torch_generator(1, 2, "learn")) for _ in range(2)]
    assert torch.equal(*values)
    assert not torch.equal(values[0], trainer(frozen)._loss(data, rows, None, torch_generator(1, 3, "learn")))


@pytest.mark.parametrize("options", [{}, {"ranking": "bpr"}, {"share_adapter": True, "gate_bias": False}])
def test_every_way_to_learn_lowers_the_ranking_loss(options: dict[str, object]) -> None:
    frozen = base()
    learner, data = trainer(frozen, **options), examples(frozen)
    before = full_loss(learner, data)
    for slide in range(30):
        assert learner.learn(data, slide)
    assert full_loss(learner, data) < before - 0.5


def test_bpr_and_softmax_learn_different_weights() -> None:
    frozen = base()
    learners = [trainer(frozen, ranking=ranking) for ranking in ("softmax", "bpr")]
    for learner in learners:
        learner.learn(examples(frozen), 1)
    assert learners[0].to_bytes()["adapter.safetensors"] != learners[1].to_bytes()["adapter.safetensors"]


def test_a_shared_adapter_is_one_function_with_two_gates() -> None:
    adapter = OnlineAdapter(4, 4, 3, 2, share=True, gate_bias=False)
    adapter.initialise(torch_generator(0, 0, "x"))
    with torch.no_grad():
        adapter.item.w2.weight.copy_(torch.eye(4))
    assert adapter.user.w1 is adapter.item.w1 and adapter.user.w2 is adapter.item.w2
    e, s = torch.randn(5, 4), torch.randn(5, 2)
    filled = torch.cat([s, torch.zeros(5, 1)], 1)
    zero = torch.zeros(5, 4)
    with torch.no_grad():
        adapter.user.gate.weight.copy_(adapter.item.gate.weight)
        assert torch.equal(adapter.user(zero, e, s), adapter.item(zero, e, filled))
        adapter.user.gate.weight.zero_()
        expected = 0.5 * torch.relu(adapter.item.w1(torch.cat([e, filled], 1)))
        assert torch.allclose(adapter.user(zero, e, s), expected)
    assert len(list(adapter.parameters())) == 6


def test_without_warm_up_the_average_follows_at_its_plain_decay() -> None:
    frozen = base()
    learner = trainer(frozen, ema_warmup=False, **PLAIN)
    learner.learn(examples(frozen), 1)
    raw, served = learner.adapter.item.w2.weight, learner.serving.item.w2.weight
    assert torch.allclose(served, raw * 0.01)


def test_a_batch_that_is_not_full_takes_its_share_of_the_rate_and_a_full_one_all_of_it() -> None:
    frozen, moved = base(), {}
    data = examples(frozen)
    for size in (len(data.positives), 4 * len(data.positives)):
        for by_share in (False, True):
            learner = trainer(frozen, batch_size=size, rate_by_share=by_share, **PLAIN)
            before = learner.adapter.item.w2.weight.detach().clone()
            learner.learn(data, 1)
            moved[size, by_share] = learner.adapter.item.w2.weight.detach() - before
    full, thin = (len(data.positives) * times for times in (1, 4))
    assert moved[full, True].abs().max() > 0 and torch.equal(moved[full, True], moved[full, False])
    assert torch.equal(moved[thin, False], moved[full, False])
    assert torch.allclose(moved[thin, True], moved[full, True] / 4, rtol=1e-3)


def test_the_loss_of_a_batch_is_the_sum_of_eq_3_by_hand() -> None:
    frozen = base(TEXT)
    learner = trainer(frozen, weight=0.3, align_weight=0.5, recon_weight=0.7, **PLAIN)
    data = replace(examples(frozen), active=torch.arange(ITEMS + 1) % 3 > 0)
    rows, on = torch.arange(10), learner.adapter
    with torch.no_grad():
        for weight in on.parameters():  # so that no latent is its base
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    kept = KeptEvents.of(data, torch.arange(30), 8, torch.Generator().manual_seed(0))
    h, own = on.user(data.h_base, data.r_u, data.s_user)[rows], data.positives[rows]
    z = torch.where(data.active[:, None], on.item(data.z_base, data.e_cf, data.s_item), data.z_base)
    drawn, log_q = data.negatives.draw(512, torch_generator(1, 2, "learn"))
    ranking = sampled_softmax_loss(h, z[own], z[drawn], own, drawn, log_q)
    rehearsed = kept_losses(on, kept, data.z_base, data.e_cf, "softmax").mean()
    some = torch.cat([own, drawn]).unique()
    stays = stability_loss(z[some], data.z_base[some]) + stability_loss(h, data.h_base[rows])
    assert on.second is not None and data.e_txt is not None
    aligned, rebuilt = on.second.losses(z[some], data.e_cf[some], data.e_txt[some])
    expected = 0.25 * ranking + 0.75 * rehearsed + 0.3 * stays + 0.5 * aligned + 0.7 * rebuilt
    found = learner._loss(data, rows, kept, torch_generator(1, 2, "learn"))
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_the_average_s_memory_grows_up_to_its_decay_and_no_further() -> None:
    served, raw = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.zeros_(served.weight), nn.init.ones_(raw.weight)
    average_into(served, raw, updates=10**6, decay=0.9)
    assert float(served.weight.detach()) == pytest.approx(0.1)
