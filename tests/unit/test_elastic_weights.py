"""The weights' own term of Eq. 2: Fisher by hand, what it holds back, what it weighs in the sum."""

import pytest
import torch

from dynmm_core.model.consolidation import ElasticWeights, diagonal_fisher
from dynmm_core.model.examples import KeptEvents, kept_losses
from dynmm_core.randomness import torch_generator
from tests.learning import PLAIN, Two, base, examples, trainer


def test_ewc_by_hand_on_two_weights() -> None:
    model = Two()
    x = torch.tensor([1.0, 2.0, 3.0])
    # Losses x·a + b: gradients x in a, 1 in b; mean squares 14/3 and 1.
    fisher = diagonal_fisher(x * model.a + model.b, model)
    assert float(fisher["a"]) == pytest.approx(14 / 3)
    assert float(fisher["b"]) == pytest.approx(1.0)
    elastic = ElasticWeights(model, decay=0.5)
    assert float(elastic.penalty(model).detach()) == 0.0
    elastic.consolidate(model, fisher)
    with torch.no_grad():
        model.a += 2.0
        model.b -= 1.0
    assert float(elastic.penalty(model).detach()) == pytest.approx(0.5 * (14 / 3 * 4 + 1 * 1))
    elastic.consolidate(model, {"a": torch.tensor(1.0), "b": torch.tensor(0.0)})
    assert float(elastic.penalty(model).detach()) == 0.0
    with torch.no_grad():
        model.a += 1.0
        model.b += 1.0
    assert float(elastic.penalty(model).detach()) == pytest.approx(0.5 * (14 / 6 + 1 + 0.5))
    restored = ElasticWeights(Two(), decay=0.5)
    restored.from_bytes(elastic.to_bytes())
    assert restored.to_bytes() == elastic.to_bytes()
    assert torch.equal(restored.penalty(model), elastic.penalty(model))


def test_the_fisher_is_the_mean_of_each_events_own_squared_gradient() -> None:
    frozen = base()
    learner, data = trainer(frozen), examples(frozen)
    for slide in range(3):
        learner.learn(data, slide)
    kept = KeptEvents.of(data, torch.arange(5), 8, torch.Generator().manual_seed(0))
    found = diagonal_fisher(kept_losses(learner.adapter, kept, data.z_base, data.e_cf, "softmax"), learner.adapter)
    by_hand = {name: torch.zeros_like(weight) for name, weight in learner.adapter.named_parameters()}
    for row in range(5):
        learner.adapter.zero_grad()
        kept_losses(learner.adapter, kept.rows(torch.tensor([row])), data.z_base, data.e_cf, "softmax").sum().backward()
        for name, weight in learner.adapter.named_parameters():
            assert weight.grad is not None
            by_hand[name] += weight.grad.square() / 5
    for name, value in by_hand.items():
        assert torch.allclose(found[name], value, atol=1e-7)
        assert value.any()


def test_ewc_holds_the_weights_back_within_a_slide() -> None:
    frozen = base()
    data, later = examples(frozen), examples(frozen, seed=6)
    moved = []
    for weight in (0.0, 1e8):
        learner = trainer(frozen, ewc_weight=weight, batch_size=4, **PLAIN)
        learner.learn(data, 1)
        before = learner.adapter.item.w2.weight.detach().clone()
        learner.learn(later, 2)
        moved.append(float((learner.adapter.item.w2.weight.detach() - before).norm()))
    assert moved[1] < 0.8 * moved[0]


def test_elastic_weights_count_lambda_s_times_lambda_ewc() -> None:
    frozen, rows = base(), torch.arange(40)
    learner, data = trainer(frozen, weight=0.3, ewc_weight=700.0, **PLAIN), examples(frozen)
    learner.learn(data, 1)
    with torch.no_grad():
        learner.adapter.item.w2.weight += 0.1
    assert learner.elastic is not None
    omega = float(learner.elastic.penalty(learner.adapter).detach())
    plain = float(learner._loss(data, rows, None, torch_generator(1, 2, "learn")).detach())
    found = float(learner._step(data, rows, None, torch_generator(1, 2, "learn")))
    assert omega > 1e-4 and found == pytest.approx(plain + 0.3 * 700.0 * omega, rel=1e-5)
