"""The same code on CPU and GPU: equal losses from one seed. Without a GPU the comparison is skipped, and says so."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.adapt.inputs import StreamShape
from benchmarks.adapt.job import Case, random_base
from benchmarks.adapt.run import measure
from dynmm_core.adapt.trainers import new_learners
from dynmm_core.model.examples import KeptEvents, kept_losses
from dynmm_core.model.features import ITEM_SUMMARY_DIM, USER_SUMMARY_DIM
from dynmm_core.model.head import REQUEST_STATE_DIM
from dynmm_core.model.head_trainer import HeadExamples
from dynmm_core.model.losses import NegativeSampler
from dynmm_core.model.trainer import Examples, OnlineSettings
from dynmm_core.randomness import torch_generator
from tests.learning import CPU, LEARNING, TEXT, base, examples, trainer

CUDA = torch.device("cuda")
STEPS, ITEMS, EVENTS, DIM, NEGATIVES = 100, 500, 64, 32, 20
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="UNMEASURED: torch sees no CUDA device, so that nothing was compared with the CPU"
)


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Full float32 products, whatever the machine's default."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def adapter_losses(device: torch.device) -> list[float]:
    draw = torch_generator(3, 0, "examples")
    learner = new_learners(
        random_base(1, DIM, device, 0), OnlineSettings(learning_rate=1e-2, stability_weight=1e-3, negatives=64), seed=1
    ).adapter
    users, table, sums = (
        torch.randn(n, w, generator=draw) for n, w in ((EVENTS, DIM), (ITEMS + 1, DIM), (EVENTS, USER_SUMMARY_DIM))
    )
    examples = Examples(
        h_base=users.to(device), r_u=users.to(device), s_user=sums.to(device), z_base=table.to(device), e_cf=table.to(device),
        s_item=torch.randn(ITEMS + 1, ITEM_SUMMARY_DIM, generator=draw).to(device),
        active=torch.arange(ITEMS + 1).to(device) % 2 == 0, positives=torch.randint(1, 30, (EVENTS,), generator=draw),
        negatives=NegativeSampler(np.ones(ITEMS + 1)),
    )  # fmt: skip
    steps = torch_generator(1, 0, "steps")
    return [float(learner._step(examples, torch.arange(EVENTS), None, steps)) for _ in range(STEPS)]


def head_losses(device: torch.device) -> list[float]:
    draw = torch_generator(4, 0, "examples")
    learner = new_learners(random_base(1, DIM, device, 0), OnlineSettings(learning_rate=0.0, stability_weight=0.0), seed=1).head
    features = torch.randn(EVENTS, 1 + NEGATIVES, learner.head.weight.numel(), generator=draw)
    features[:, 0, 0] += 1.0
    state, log_q = torch.randn(EVENTS, REQUEST_STATE_DIM, generator=draw), torch.zeros(EVENTS, 1 + NEGATIVES)
    batch = HeadExamples(features.half().to(device), state.to(device), log_q.to(device))
    return [float(learner._step(batch)) for _ in range(STEPS)]


@pytest.mark.parametrize("losses", [adapter_losses, head_losses])
def test_from_one_seed_come_the_same_falling_losses(losses: Callable[[torch.device], list[float]]) -> None:
    found = losses(CPU)
    assert found == losses(CPU)
    assert found[-1] < 0.9 * found[0]


@needs_gpu
@pytest.mark.parametrize("losses", [adapter_losses, head_losses])
def test_the_gpu_loses_as_the_cpu_does(losses: Callable[[torch.device], list[float]]) -> None:
    assert losses(CUDA) == pytest.approx(losses(CPU), abs=1e-4)


def learned(device: torch.device, name: str) -> tuple[list[bool], torch.Tensor]:
    """What becomes of ten slides, the fifth of them poisoned and the state in bytes behind it, and the losses of a last one."""
    options = {**LEARNING[name], "held_out_events": 30, "replay_capacity": 500}
    frozen = base(TEXT, device)
    learner, accepted = trainer(frozen, **options), []
    for slide in range(10):
        data = examples(frozen, n=300, seed=slide)
        if slide == 4:
            data = replace(data, r_u=data.r_u * float("nan"))
        accepted.append(learner.learn(data, slide))
        if slide == 4:
            state, learner = learner.to_bytes(), trainer(frozen, **options)
            learner.from_bytes(state)
    data = examples(frozen, n=300, seed=99)
    kept = KeptEvents.of(data, torch.arange(300), 8, torch_generator(0, 0, "judge"))
    with torch.no_grad():
        return accepted, kept_losses(learner.serving, kept, data.z_base, data.e_cf, "softmax").cpu()


@pytest.mark.parametrize("name", LEARNING)
def test_whole_updates_repeat_and_a_poisoned_one_goes_back(name: str) -> None:
    accepted, losses = learned(CPU, name)
    assert accepted == [True] * 4 + [False] + [True] * 5
    assert torch.equal(learned(CPU, name)[1], losses)


@needs_gpu
@pytest.mark.parametrize("name", LEARNING)
def test_whole_updates_lose_on_the_gpu_as_on_the_cpu(name: str) -> None:
    (accepted, losses), (expected, others) = learned(CUDA, name), learned(CPU, name)
    assert accepted == expected
    assert torch.allclose(losses, others, atol=1e-4)


@needs_gpu
def test_whole_slides_run_on_the_gpu() -> None:
    models = ("static", "adapted_latents", "adapted")
    found = measure(Case(StreamShape(500, 100, 60, 3), DIM, models, CUDA), 0, lambda: None)
    assert found.slide_seconds > 0 and min(found.peak_mb.values()) > 0
