"""What Eq. 1 to 3 add beyond ranking: memory, elastic weights, the guard, a second modality, the paper's letter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dynmm_core.adapt.trainers import new_learners
from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.aligner import BaseAligner
from dynmm_core.model.averaging import average_into
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.consolidation import ElasticWeights, diagonal_fisher
from dynmm_core.model.examples import Examples, KeptEvents, kept_losses
from dynmm_core.model.features import ITEM_SUMMARY_DIM, USER_SUMMARY_DIM
from dynmm_core.model.guard import HeldOut, has_risen, is_sound, split_held_out, weights_of
from dynmm_core.model.losses import NegativeSampler, sampled_softmax_loss, stability_loss
from dynmm_core.model.online import OnlineOptions, OnlineSettings
from dynmm_core.model.reservoir import Reservoir
from dynmm_core.model.sasrec import SASRec
from dynmm_core.model.trainer import AdapterTrainer
from dynmm_core.randomness import torch_generator

ITEMS, WIDTH = 25, 16
PLAIN = {"guard": False, "replay_capacity": 0}


def base(e_txt: torch.Tensor | None = None) -> FrozenBase:
    model = SASRec(20, WIDTH, layers=1, heads=1, max_length=10, dropout=0.0)
    model.initialise(torch_generator(0, 0, "test"))
    aligner = BaseAligner(WIDTH, WIDTH)
    aligner.fit(model.item_embedding.weight.detach()[1:])
    return FrozenBase(model, aligner, torch.device("cpu"), e_txt)


def examples(frozen: FrozenBase, n: int = 40, seed: int = 5) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    e_cf, z_base = frozen.item_tables(ITEMS)
    r_u = torch.randn(n, WIDTH, generator=generator)
    return Examples(
        h_base=frozen.aligner.align_users(r_u), r_u=r_u, s_user=torch.randn(n, USER_SUMMARY_DIM, generator=generator),
        z_base=z_base, e_cf=e_cf, s_item=torch.randn(ITEMS + 1, ITEM_SUMMARY_DIM, generator=generator),
        active=torch.ones(ITEMS + 1, dtype=torch.bool), positives=torch.randint(1, 4, (n,), generator=generator),
        negatives=NegativeSampler(np.ones(ITEMS + 1)),
        e_txt=frozen.item_text(ITEMS),
    )  # fmt: skip


def trainer(frozen: FrozenBase, rate: float = 1e-2, weight: float = 1e-3, **options: object) -> AdapterTrainer:
    """The slides of these tests are a few events: they take the whole rate unless a test says otherwise."""
    settings = OnlineSettings.of(OnlineOptions.model_validate({"rate_by_share": False, **options}), rate, weight)
    return new_learners(frozen, settings, seed=1).adapter


def plain_state(learner: AdapterTrainer) -> dict[str, bytes]:
    """The state without the held-out events, which stay when an update goes back."""
    return {name: part for name, part in learner.to_bytes().items() if name != "held-out.safetensors"}


def full_loss(learner: AdapterTrainer, data: Examples) -> float:
    with torch.no_grad():
        h = learner.adapter.user(data.h_base, data.r_u, data.s_user)
        z = learner.adapter.item(data.z_base, data.e_cf, data.s_item)
        return float(nn.functional.cross_entropy(h @ z[1:].T, data.positives - 1))


# Elastic weights.


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(2.0))


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


# The replay buffer.


def numbered(first: int, n: int) -> KeptEvents:
    """Events whose positives are their numbers."""
    numbers = torch.arange(first, first + n)
    wide = [torch.zeros(n, 2) for _ in range(6)]
    no = [torch.zeros(n, *shape, dtype=torch.bool) for shape in ((), (1,))]
    drawn, s_negative, log_q = torch.zeros(n, 1, dtype=torch.long), torch.zeros(n, 1, 1), torch.zeros(n, 1)
    return KeptEvents(*wide[:3], numbers, *wide[3:], no[0], drawn, s_negative, no[1], log_q)


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


# The guard.


def test_an_update_is_unsound_when_it_moves_too_far_or_is_not_finite() -> None:
    model = Two()
    before = weights_of(model)
    with torch.no_grad():
        model.a += 0.3
        model.b -= 0.4
    rms = (0.25 / 2) ** 0.5
    assert is_sound(model, before, rms + 1e-6)
    assert not is_sound(model, before, rms - 1e-6)
    with torch.no_grad():
        model.a.fill_(float("nan"))
    assert not is_sound(model, before, float("inf"))


def test_losses_have_risen_beyond_two_standard_errors_only() -> None:
    before = torch.tensor([1.0, 3.0] * 50)  # standard error: 1.005 / 10
    assert not has_risen(before, before + 0.2)
    assert has_risen(before, before + 0.21)
    assert not has_risen(before, before - 1.0)
    assert has_risen(before, before * float("nan"))


def test_a_tenth_is_held_out_and_never_more_than_asked() -> None:
    learned, held = split_held_out(10_000, 5_000, torch.Generator().manual_seed(0))
    assert 900 < len(held) < 1_100
    assert sorted([*learned.tolist(), *held.tolist()]) == list(range(10_000))
    learned, held = split_held_out(10_000, 200, torch.Generator().manual_seed(0))
    assert (len(learned), len(held)) == (9_800, 200)


def test_the_guard_judges_by_as_few_of_the_last_slides_as_suffice() -> None:
    held: HeldOut[KeptEvents] = HeldOut("held-out.safetensors", 10, KeptEvents)
    for slide in range(6):
        assert (held.events() is None) == (slide < 3)
        held.add(slide, numbered(4 * slide, 4))
    events = held.events()
    assert events is not None and events.positives.tolist() == list(range(12, 24))
    restored: HeldOut[KeptEvents] = HeldOut("held-out.safetensors", 10, KeptEvents)
    restored.from_bytes(held.to_bytes(), torch.device("cpu"))
    assert restored.to_bytes() == held.to_bytes()
    again, both = restored.events(), (held, restored)
    assert again is not None and torch.equal(again.positives, events.positives)
    for one in both:
        one.add(6, numbered(24, 4))
    assert restored.to_bytes() == held.to_bytes()


@pytest.mark.parametrize("poison", ["nan", "huge", "reversed"])
def test_a_poisoned_slide_is_rejected_and_everything_learned_goes_back(poison: str) -> None:
    frozen = base()
    learner = trainer(frozen, ewc_weight=1.0, held_out_events=20, batch_size=8)
    for slide in range(20):
        assert learner.learn(examples(frozen, seed=slide), slide)
    before = plain_state(learner)
    assert {"ewc.safetensors", "replay.json", "replay-0000.safetensors", "optimiser.safetensors"} <= before.keys()
    data = examples(frozen, n=80, seed=99)
    if poison == "nan":
        data.s_user[7] = float("nan")
    elif poison == "huge":
        data = replace(data, s_item=data.s_item * 1e20, r_u=data.r_u * 1e20)
    else:
        # The rate is right and every number finite: only the held-out events can tell.
        data = replace(data, positives=data.positives + 15)
        learner.settings = learner.settings.model_copy(update={"max_step_rms": 1e9})
        learner._rates[0] = 1.0
    assert not learner.learn(data, 100)
    assert plain_state(learner) == before
    learner._rates[0] = 1e-2
    assert learner.learn(examples(frozen, seed=21), 101)


def test_without_the_guard_the_same_finite_update_is_kept() -> None:
    frozen = base()
    learner = trainer(frozen, rate=1.0, guard=False)
    before = weights_of(learner.adapter)
    assert learner.learn(examples(frozen), 1)
    assert not is_sound(learner.adapter, before, 0.5)
    guarded = trainer(frozen, rate=1.0)
    assert not guarded.learn(examples(frozen), 1)
    assert guarded.updates == 0


# The state as a whole.

SETTINGS = {
    "default": {},
    "everything": {"ewc_weight": 1.0, "align_weight": 0.1, "recon_weight": 0.1, "share_adapter": True, "gate_bias": False},
    "bpr": {"ranking": "bpr", "ema_warmup": False, "weight_decay": 0.01},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_equal_seeds_learn_equal_bits_and_the_state_goes_to_bytes_and_back(name: str) -> None:
    frozen = base(torch.randn(21, 6, generator=torch.Generator().manual_seed(0)))
    options = {**SETTINGS[name], "held_out_events": 10, "batch_size": 16, "replay_capacity": 70}
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


# The paper's letter.


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


# The second modality.


def test_with_collaborative_vectors_alone_alignment_and_reconstruction_change_nothing() -> None:
    frozen = base()
    states = []
    for options in ({}, {"align_weight": 5.0, "recon_weight": 5.0}):
        learner = trainer(frozen, **options)
        learner.learn(examples(frozen), 1)
        states.append(learner.to_bytes())
        assert learner.adapter.second is None
    assert states[0] == states[1]


def test_a_base_with_text_is_aligned_and_rebuilt() -> None:
    text = torch.randn(21, 6, generator=torch.Generator().manual_seed(0))
    text[3] = 0.0
    frozen = base(text)
    data = examples(frozen)
    assert data.e_txt is not None and not data.e_txt[21:].any()
    learner = trainer(frozen, align_weight=1.0, recon_weight=1.0, projector_lr=1e-2, **PLAIN)

    def losses() -> tuple[float, float]:
        assert learner.adapter.second is not None and data.e_txt is not None
        with torch.no_grad():
            z = learner.adapter.item(data.z_base, data.e_cf, data.s_item)
            align, recon = learner.adapter.second.losses(z, data.e_cf, data.e_txt)
        return float(align), float(recon)

    before = losses()
    for slide in range(60):
        learner.learn(data, slide)
    after = losses()
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.7 * before[1]


def test_the_loss_of_a_batch_is_the_sum_of_eq_3_by_hand() -> None:
    frozen = base(torch.randn(21, 6, generator=torch.Generator().manual_seed(0)))
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


def test_the_average_s_memory_grows_up_to_its_decay_and_no_further() -> None:
    served, raw = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.zeros_(served.weight), nn.init.ones_(raw.weight)
    average_into(served, raw, updates=10**6, decay=0.9)
    assert float(served.weight.detach()) == pytest.approx(0.1)


def test_a_share_of_the_new_events_is_rehearsed_over_all_batches() -> None:
    learner, data = trainer(base(), replay_share=0.25, guard=False), examples(base())
    learner.learn(data, 1)
    parts = learner._rehearsed(40, 4, 2)
    assert [len(part) for part in parts if part is not None] == [3, 3, 2, 2]


def test_what_is_held_out_is_neither_learned_from_nor_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen, seen = base(), []
    learner, data = trainer(frozen, ewc_weight=1.0, held_out_events=20), examples(frozen, n=400)
    step, of = learner._step, KeptEvents.of
    monkeypatch.setattr(learner, "_step", lambda data, rows, *rest: seen.append(rows) or step(data, rows, *rest))
    monkeypatch.setattr(KeptEvents, "of", lambda data, rows, *rest: seen.append(rows) or of(data, rows, *rest))
    assert learner.learn(data, 1)
    held, *others = [set(rows.tolist()) for rows in seen]  # then the steps, the replay buffer, the Fisher
    assert len(held) == 20 and len(set().union(*others[:-2])) == len(others[-2]) == 380 and len(others[-1]) == 64
    assert not any(held & rows for rows in others) and max(others[-1]) > 200


def test_an_event_that_is_broken_is_no_measure_of_anything() -> None:
    frozen = base()
    learner, data = trainer(frozen, held_out_events=20), examples(frozen, n=400)
    broken = replace(data, h_base=-1e6 * data.z_base[data.positives])
    assert len(learner._held_back(broken, 1)) == 380
    assert learner.held_out.to_bytes() == {}
    learner._held_back(data, 2)
    assert learner.held_out.events() is not None


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


def test_the_second_modality_learns_at_its_own_rate() -> None:
    frozen = base(torch.randn(21, 6, generator=torch.Generator().manual_seed(0)))
    learner = trainer(frozen, align_weight=1.0, recon_weight=1.0, projector_lr=0.0, **PLAIN)
    assert learner.adapter.second is not None
    before = weights_of(learner.adapter.second)
    learner.learn(examples(frozen), 1)
    assert all(torch.equal(before[name], now) for name, now in learner.adapter.second.named_parameters())
    assert learner.adapter.item.w2.weight.any()
