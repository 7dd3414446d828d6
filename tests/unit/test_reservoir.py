"""The replay buffer: who is in it, its bytes, what rehearsal is worth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dynmm_core.model.examples import KeptEvents, kept_losses
from dynmm_core.model.losses import NegativeSampler
from dynmm_core.model.reservoir import Reservoir
from dynmm_core.randomness import torch_generator
from tests.learning import ITEMS, PLAIN, base, examples, full_loss, numbered, trainer


def offered(reservoir: Reservoir, sizes: list[int], seed: int) -> Reservoir:
    first = reservoir.seen
    for slide, size in enumerate(sizes):
        generator = torch_generator(seed, first + slide, "reservoir")
        events = numbered(reservoir.seen, size)
        rows, slots = reservoir.choose(size, generator)
        reservoir.put(slots, events.rows(rows))
    return reservoir


def test_the_reservoir_holds_every_event_with_equal_probability() -> None:
    held = np.zeros(60)
    runs = 2_000
    for seed in range(runs):
        reservoir = offered(Reservoir(10), [3, 20, 1, 36], seed)
        assert reservoir.kept is not None and len(reservoir.kept) == 10
        numbers = reservoir.kept.positives.numpy()
        assert len(set(numbers.tolist())) == 10
        held[numbers] += 1
    expected, error = runs / 6, (runs / 6 * 5 / 6) ** 0.5
    assert np.abs(held - expected).max() < 4.5 * error


def test_the_reservoir_is_algorithm_r() -> None:
    """One event at a time: the first fill the slots in order, event t replaces slot ⌊u·t⌋ if there is one."""
    reservoir, slots = Reservoir(5), [-1] * 5
    for slide, size in enumerate([2, 9, 14]):
        uniform = torch.rand(size, generator=torch_generator(3, slide, "x"), dtype=torch.float64).tolist()
        for place, u in enumerate(uniform):
            t = reservoir.seen + place + 1
            slot = t - 1 if t <= 5 else int(u * t)
            if slot < 5:
                slots[slot] = t - 1
        events = numbered(reservoir.seen, size)
        rows, taken = reservoir.choose(size, torch_generator(3, slide, "x"))
        reservoir.put(taken, events.rows(rows))
        assert reservoir.kept is not None
        assert reservoir.kept.positives.tolist() == [one for one in slots if one >= 0]


def test_the_reservoir_goes_to_bytes_and_back_and_unchanged_buckets_stay_the_same() -> None:
    reservoir = offered(Reservoir(200), [5_000], 0)
    early = reservoir.to_bytes()
    restored = Reservoir(200)
    restored.from_bytes({**early, "adapter.safetensors": b""}, torch.device("cpu"))
    assert restored.to_bytes() == early
    late = offered(reservoir, [20], 0).to_bytes()
    assert offered(restored, [20], 0).to_bytes() == late
    same = [name for name in early if early[name] == late[name]]
    assert len(early) == 5 and 1 <= len(same) < 5


def test_a_reservoir_of_more_than_ten_thousand_files_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynmm_core.model.reservoir.BUCKET", 1)
    reservoir, restored = offered(Reservoir(10_010), [10_010], 0), Reservoir(10_010)
    restored.from_bytes(reservoir.to_bytes(), torch.device("cpu"))
    assert reservoir.kept is not None and restored.kept is not None
    assert restored.kept.positives.tolist() == reservoir.kept.positives.tolist()


def test_rehearsal_keeps_what_the_new_events_say_nothing_of() -> None:
    frozen = base()
    old, new = examples(frozen), examples(frozen, seed=9)
    new = replace(new, positives=new.positives + 10)
    loss = {}
    for capacity in (0, 100):
        learner = trainer(frozen, replay_capacity=capacity, replay_share=2.0, guard=False)
        for slide in range(20):
            learner.learn(old, slide)
        for slide in range(20, 40):
            learner.learn(new, slide)
        loss[capacity] = full_loss(learner, old)
    assert loss[100] < loss[0] - 0.5


def test_rehearsed_events_keep_the_features_of_their_time() -> None:
    frozen = base()
    data = examples(frozen)
    learner = trainer(frozen, guard=False)
    learner.learn(data, 1)
    assert learner.reservoir is not None and learner.reservoir.kept is not None
    kept = learner.reservoir.kept
    learner.learn(replace(data, s_item=data.s_item + 5.0, s_user=data.s_user + 5.0), 2)
    now = learner.reservoir.kept
    assert len(kept) == 40 and len(now) == 80
    assert torch.equal(now.rows(torch.arange(40)).s_positive, data.s_item[kept.positives])
    assert torch.equal(now.s_positive[40:], data.s_item[now.positives[40:]] + 5.0)
    assert torch.equal(now.s_negative[:40], data.s_item[now.negatives[:40]])


def test_a_share_of_the_new_events_is_rehearsed_over_all_batches() -> None:
    learner, data = trainer(base(), replay_share=0.25, guard=False), examples(base())
    learner.learn(data, 1)
    parts = learner._rehearsed(40, 4, 2)
    assert [len(part) for part in parts if part is not None] == [3, 3, 2, 2]


def test_a_kept_event_has_the_loss_over_its_own_negatives_by_hand() -> None:
    frozen = base()
    likely = np.arange(ITEMS + 1)[::-1].astype(float)  # nobody draws padding
    sampler, active = NegativeSampler(likely), torch.arange(ITEMS + 1) % 3 > 0
    data, q = replace(examples(frozen), active=active, negatives=sampler), torch.from_numpy(likely / likely[1:].sum()).float()
    on = trainer(frozen, **PLAIN).adapter
    with torch.no_grad():
        for weight in on.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
        kept = KeptEvents.of(data, torch.arange(12), 8, torch.Generator().manual_seed(0))
        z = torch.where(data.active[:, None], on.item(data.z_base, data.e_cf, data.s_item), data.z_base)
        scores = on.user(data.h_base, data.r_u, data.s_user)[:12] @ z.T
        own = scores.gather(1, kept.positives[:, None])
        drawn = scores.gather(1, kept.negatives) - (8 * q[kept.negatives]).log()
        drawn[kept.negatives == kept.positives[:, None]] = -torch.inf
        assert drawn.isinf().any() and not data.active[kept.negatives].all() and not data.active[kept.positives].all()
        expected = torch.cat([own, drawn], 1).logsumexp(1) - own.squeeze(1)
        assert torch.allclose(kept_losses(on, kept, data.z_base, data.e_cf, "softmax"), expected, atol=1e-5)
