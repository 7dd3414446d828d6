"""One program for every device: what is learned and ranked is the same, and the host waits for the device only where it must."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import benchmarks.adapt.job as job
from benchmarks.adapt.inputs import StreamShape
from dynmm_core.adapt.cpu_meter import CpuMeter
from dynmm_core.adapt.fold_in import FoldedItems
from dynmm_core.adapt.loop import AdaptLoop
from dynmm_core.adapt.scoring import ROWS_PER_BLOCK
from dynmm_core.adapt.trainers import new_learners
from dynmm_core.model.aligner import BaseAligner
from dynmm_core.model.base import FrozenBase, with_room
from dynmm_core.model.devices import fetch
from dynmm_core.model.head import REQUEST_STATE_DIM
from dynmm_core.model.head_trainer import HeadExamples
from dynmm_core.model.losses import _masked_alignment
from dynmm_core.model.online import OnlineSettings
from dynmm_core.model.ranking import rank_targets
from dynmm_core.randomness import torch_generator
from tests.learning import CPU, LEARNING, TEXT, base, examples, trainer
from tests.second_device import SecondDevice

PARTS = ("adapter", "held-out", "ewc", "replay-")  # of the state, each of which is fetched at once


@pytest.mark.parametrize("name", LEARNING)
def test_the_adapter_learns_the_same_on_a_device_and_waits_once_a_slide(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # On the CPU it leaves out what a device masks, and sums in another order.
    monkeypatch.setattr("dynmm_core.model.second_modality.alignment_loss", lambda *given: _masked_alignment(*given, 0.1))
    options = {**LEARNING[name], "held_out_events": 30, "replay_capacity": 500}
    at_home = trainer(base(TEXT), **options)
    for slide in range(4):
        at_home.learn(examples(base(TEXT), n=700, seed=slide), slide)
    with SecondDevice() as there:
        frozen = base(TEXT, there.device)
        learner, restored = trainer(frozen, **options), trainer(frozen, **options)
        for slide in range(4):
            data = examples(frozen, n=700, seed=slide)
            there.waits.clear()
            assert learner.learn(data, slide)
            assert len(there.waits) == 1, there.waits
            there.waits.clear()
            state = learner.to_bytes()
            assert len(there.waits) == sum(any(name.startswith(part) for name in state) for part in PARTS), there.waits
            restored.from_bytes(state)
            learner, restored = restored, learner
        assert learner.to_bytes() == at_home.to_bytes()


def small_loop(device: torch.device, monkeypatch: pytest.MonkeyPatch, events: int) -> tuple[AdaptLoop, list[job.SlideEvents]]:
    """The benchmark's loop; its base is drawn on the CPU, where a device that is played has no generator."""
    drawn = job.random_base

    def sent(items: int, latent_dim: int, on: torch.device, seed: int) -> FrozenBase:
        return FrozenBase(drawn(items, latent_dim, CPU, seed).backbone, BaseAligner(latent_dim, latent_dim), on)

    with monkeypatch.context() as patch:
        patch.setattr(job, "random_base", sent)
        case = job.Case(StreamShape(500, 100, events, 3), 32, ("static", "adapted_latents", "adapted"), device)
        return job.new_loop(case, 0)


def test_a_whole_slide_is_the_same_on_a_device_and_waits_for_ranking_and_once_for_learning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dynmm_core.model.sasrec.TOKENS_PER_GPU_BLOCK", 400)  # a block's shape has a say in the last bits
    at_home, slides = small_loop(CPU, monkeypatch, 600)
    expected = [at_home.step(slide) for slide in slides]
    with SecondDevice() as there:
        loop, slides = small_loop(there.device, monkeypatch, 600)
        for slide, same in zip(slides, expected, strict=True):
            there.waits.clear()
            found = loop.step(slide)
            assert [row.to_json() for row in found.windows] == [row.to_json() for row in same.windows]
            # static and adapted_latents: once each; adapted: near items and scores of each block; learning: once.
            blocks = -(-len(slide.item_idx) // ROWS_PER_BLOCK)
            assert len(there.waits) == 2 + 2 * blocks + 1, there.waits
        assert loop.learners.to_bytes() == at_home.learners.to_bytes()


def test_ranking_waits_once_however_many_requests_there_are() -> None:
    draw = np.random.default_rng(0)
    users, items = (torch.from_numpy(draw.integers(-2, 3, size).astype(np.float32)) for size in ((300, 4), (90, 4)))
    targets, rows, consumed = draw.integers(0, 95, 300), np.repeat(np.arange(300), 3), draw.integers(1, 95, 900)
    pairs = np.unique(np.c_[rows, consumed], axis=0).T
    expected = rank_targets(users, items, targets, *pairs)
    with SecondDevice() as there:
        users, items = users.to(there.device), items.to(there.device)
        there.waits.clear()
        found = rank_targets(users, items, targets, *pairs)
        assert len(there.waits) == 1
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


def test_tensors_of_every_type_come_in_one_copy() -> None:
    given = {
        "flags": torch.tensor([True, False, True]), "half": torch.ones(5, 3).half(), "none": torch.zeros(0, 4),
        "one": torch.tensor(2.5), "turned": torch.arange(6.0).view(2, 3).T, "whole": torch.arange(3),
    }  # fmt: skip
    with SecondDevice() as there:
        sent = {name: tensor.to(there.device) for name, tensor in given.items()}
        there.waits.clear()
        found = fetch({**sent, "here": torch.ones(2)})
        assert len(there.waits) == 1
    assert list(found) == [*given, "here"]
    for name, tensor in given.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) and found[name].is_contiguous()


def test_the_second_device_refuses_to_mix_and_counts_what_is_asked_of_it() -> None:
    with SecondDevice() as there:
        x, there_0 = torch.ones(4).to(there.device), torch.zeros(2, dtype=torch.long).to(there.device)
        here = torch.ones(4)
        for mixed in (lambda: x + here, lambda: torch.equal(x, here), lambda: x.index_put_((there_0,), here[:2])):
            with pytest.raises(RuntimeError, match="on the CPU and on the second device"):
                mixed()
        there.waits.clear()
        waiting = [
            lambda: float(x.sum()), lambda: x.cpu(), lambda: x.nonzero(), lambda: x[x > 0], lambda: x[torch.tensor([1])],
            lambda: torch.ones(2).to(there.device), lambda: x[0].item(), lambda: bool((x > 0).all()), lambda: torch.equal(x, x),
            lambda: torch.allclose(x, x), lambda: x.unique_consecutive(), lambda: x.unique(), lambda: torch.ones(4).copy_(x),
        ]  # fmt: skip
        for count, ask in enumerate(waiting, 1):
            ask()
            assert len(there.waits) >= count, count
        there.waits.clear()
        x.to(there.device).add_(1.0)[torch.ones(2, dtype=torch.long).to(there.device, non_blocking=True)].sum()
        assert there.waits == []


def test_a_new_item_gets_its_latent_with_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen, clicked = base(), (np.array([22, 3, 22]), np.array([[1, 2], [1, 0], [5, 0]]))
    at_home = FoldedItems(frozen)
    at_home.observe(*clicked)
    with SecondDevice() as there:
        folded = FoldedItems(base(device=there.device))
        there.waits.clear()
        folded.observe(*clicked)
        assert len(there.waits) == 1, there.waits
        found = fetch(dict(enumerate(folded.tables(22))))
    for one, other in zip(found.values(), at_home.tables(22), strict=True):
        assert torch.equal(one, other) and one[22].any()


def test_histories_are_encoded_in_larger_blocks_off_the_cpu() -> None:
    frozen, draw = base(), np.random.default_rng(0)
    lengths = draw.integers(0, 11, 700)
    recent = np.where(np.arange(10) < lengths[:, None], draw.integers(1, 21, (700, 10)), 0)
    expected = frozen.user_states(recent, lengths)
    with SecondDevice() as there:
        frozen = base(device=there.device)
        there.waits.clear()
        found = frozen.user_states(recent, lengths)
        assert there.waits == []
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one.cpu(), other, atol=1e-5)


def test_an_update_of_the_head_stands_or_falls_by_itself() -> None:
    frozen = base()
    learners = new_learners(frozen, OnlineSettings(learning_rate=1e-2, stability_weight=0.0), seed=1)
    draw = torch_generator(0, 0, "examples")
    features = torch.randn(60, 5, learners.head.head.weight.numel(), generator=draw).half()
    of_head = HeadExamples(features, torch.rand(60, REQUEST_STATE_DIM, generator=draw), torch.zeros(60, 5))
    data = examples(frozen)
    broken = replace(data, r_u=data.r_u * float("nan"))
    assert not learners.learn(broken, of_head, 1, CpuMeter())
    assert (learners.adapter.updates, learners.head.updates > 0) == (0, True)
    assert any(name.startswith("head-memory-") for name in learners.to_bytes())


def test_the_base_keeps_one_table_of_items_and_grows_by_little() -> None:
    frozen = base()
    shared = frozen.backbone.item_embedding.weight
    assert frozen.item_tables(20)[0].data_ptr() == shared.data_ptr() and not shared[0].any()
    assert len(with_room(torch.zeros(16_000, 1), 16_001)) == 18_000 and len(with_room(torch.zeros(20, 1), 21)) == 1_044
    assert frozen.item_tables(21)[0].shape == (22, 16)
