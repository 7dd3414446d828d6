"""Losses: values by hand, limits, gradients in float64."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from dynmm_core.model.losses import (
    NegativeSampler,
    _masked_alignment,
    alignment_loss,
    bpr_loss,
    bpr_rows,
    full_softmax_loss,
    reconstruction_loss,
    sampled_softmax_loss,
    stability_loss,
)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_full_softmax_of_equal_scores_is_log_n() -> None:
    loss = full_softmax_loss(torch.zeros(3, 4), torch.ones(7, 4), torch.tensor([0, 1, 2]))
    assert float(loss) == pytest.approx(math.log(7))


def test_sampled_softmax_over_every_item_once_is_the_full_softmax() -> None:
    states, items, target = randn(5, 4), randn(9, 4, seed=1), torch.tensor([0, 3, 3, 8, 1])
    # Every item once under a uniform sampler estimates the partition sum exactly, up to the masked positive.
    log_q = torch.full((9,), -math.log(9), dtype=torch.float64)
    sampled = sampled_softmax_loss(states, items[target], items, target, torch.arange(9), log_q)
    assert float(sampled) == pytest.approx(float(full_softmax_loss(states, items, target)))


def test_sampled_softmax_is_close_to_the_full_one_for_many_draws() -> None:
    counts = np.r_[0, np.arange(1, 51)]
    sampler = NegativeSampler.of_counts(counts)
    negatives, log_q = sampler.draw(200_000, torch.Generator().manual_seed(2))
    states, items = randn(4, 8), torch.cat([torch.zeros(1, 8, dtype=torch.float64), randn(50, 8, seed=1)])
    target = torch.tensor([1, 17, 33, 50])
    sampled = sampled_softmax_loss(states, items[target], items[negatives], target, negatives, log_q.double())
    assert float(sampled) == pytest.approx(float(full_softmax_loss(states, items[1:], target - 1)), abs=0.02)


def test_sampler_probabilities_match_its_draws_and_never_name_padding() -> None:
    sampler = NegativeSampler.of_counts(np.array([0, 8, 1, 1]))
    items, log_q = sampler.draw(100_000, torch.Generator().manual_seed(0))
    shares = torch.bincount(items, minlength=4) / len(items)
    assert shares[0] == 0
    expected = torch.tensor([0.0, 0.4 + 1 / 6, 0.05 + 1 / 6, 0.05 + 1 / 6])
    assert torch.allclose(shares, expected, atol=0.01)
    assert torch.allclose(log_q.exp(), expected[items])


def test_rare_items_of_a_large_catalogue_are_drawn_as_often_as_they_should_be() -> None:
    # Summed up in single precision, every second one of these would be lost or counted double.
    weights = np.full(8_000_001, 1.0)
    weights[1] = 8_000_000.0
    items, log_q = NegativeSampler(weights).draw(200_000, torch.Generator().manual_seed(0))
    parts = torch.bincount((items[items > 1] - 1) // 1_000_000, minlength=8) / len(items)
    assert torch.allclose(parts, torch.full((8,), 1 / 16), atol=0.004)
    assert torch.allclose(log_q[items > 1], torch.tensor(-math.log(16_000_000.0)), atol=1e-5)


def test_bpr_of_equal_scores_is_log_two() -> None:
    assert float(bpr_loss(randn(3, 4), randn(3, 4, seed=1), randn(3, 4, seed=1))) == pytest.approx(math.log(2))


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_stability_is_the_kl_divergence_of_torch(sigma: float) -> None:
    latents, base = randn(6, 4), randn(6, 4, seed=1)
    reference = kl_divergence(Independent(Normal(latents, sigma), 1), Independent(Normal(base, sigma), 1)).mean()
    assert float(stability_loss(latents, base, sigma)) == pytest.approx(float(reference))


def test_stability_of_the_base_itself_is_zero() -> None:
    assert float(stability_loss(randn(3, 2), randn(3, 2))) == 0.0


def test_gradients_are_those_of_the_formulas() -> None:
    def total(latents: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        ids = torch.arange(3)
        ranking = sampled_softmax_loss(latents, base, base + 1, ids, ids + 3, torch.zeros(3, dtype=torch.float64))
        return ranking + stability_loss(latents, base) + bpr_loss(latents, base, base.flip(0))

    assert torch.autograd.gradcheck(total, (randn(3, 2).requires_grad_(), randn(3, 2, seed=1).requires_grad_()))


def test_rows_of_bpr_are_means_over_the_negatives_that_are_none_of_the_positives() -> None:
    positive, negative = torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 3.0], [2.0, 5.0]])
    same = torch.tensor([[False, True], [True, True]])
    rows = bpr_rows(positive, negative, same)
    assert rows.tolist() == pytest.approx([math.log(1 + math.exp(-1.0)), 0.0])
    none = bpr_rows(positive, negative, torch.zeros(2, 2, dtype=torch.bool))
    assert float(none[0]) == pytest.approx((math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2)


def test_alignment_of_equal_directions_is_log_n_and_of_own_ones_near_zero() -> None:
    here = torch.ones(6, dtype=torch.bool)
    alike = torch.ones(6, 3)
    assert float(alignment_loss(alike, 2.0 * alike, here)) == pytest.approx(math.log(6), abs=1e-5)
    assert float(alignment_loss(torch.eye(6), 7.0 * torch.eye(6), here)) == pytest.approx(
        math.log(1 + 5 * math.exp(-10)), abs=1e-6
    )


def test_alignment_sees_only_items_with_both_modalities() -> None:
    a, b = randn(5, 3).requires_grad_(), randn(5, 3, seed=1).requires_grad_()
    present = torch.tensor([True, False, True, True, False])
    some = alignment_loss(a[present], b[present], torch.ones(3, dtype=torch.bool))
    assert torch.equal(alignment_loss(a, b, present), some)
    for few in (0, 1):
        assert float(alignment_loss(a, b, torch.arange(5) < few).detach()) == 0.0


def test_masked_alignment_is_the_same_where_nobody_can_say_how_many_are_present() -> None:
    a, b = randn(5, 3).requires_grad_(), randn(5, 3, seed=1).requires_grad_()
    present = torch.tensor([True, False, True, True, False])
    whole, some = _masked_alignment(a, b, present, 0.1), alignment_loss(a, b, present)
    assert float(whole.detach()) == pytest.approx(float(some.detach())) and float(whole.detach()) > 0.1
    for found, expected in zip(torch.autograd.grad(whole, (a, b)), torch.autograd.grad(some, (a, b)), strict=True):
        assert torch.allclose(found, expected) and not found[~present].any()
    for few in (0, 1):
        nothing = _masked_alignment(a, b * (torch.arange(5) < few)[:, None], torch.arange(5) < few, 0.1)
        assert float(nothing.detach()) == 0.0
        assert all(not gradient.any() for gradient in torch.autograd.grad(nothing, (a, b)))


def test_reconstruction_by_hand() -> None:
    features = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0]])
    decoded = torch.tensor([[0.6, 0.0], [9.0, 9.0], [1.0, 1.0]])
    present = torch.tensor([True, False, True])
    assert float(reconstruction_loss(decoded, features, present)) == pytest.approx((0.64 + 1.0) / 2)
    assert float(reconstruction_loss(decoded, features, present & False)) == 0.0
