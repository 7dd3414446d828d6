"""The divergence guard: what is held out, what it judges, and that a rejected update leaves nothing behind."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dynmm_core.model.examples import KeptEvents
from dynmm_core.model.guard import has_risen, is_sound
from dynmm_core.model.held_out import HeldOut, split_held_out
from tests.learning import Two, base, copied, examples, numbered, plain_state, trainer


def test_an_update_is_unsound_when_it_moves_too_far_or_is_not_finite() -> None:
    model = Two()
    before = copied(model)
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
    before, every = torch.tensor([1.0, 3.0] * 50), torch.ones(100, dtype=torch.bool)  # standard error: 1.005 / 10
    assert not has_risen(before, before + 0.2, every)
    assert has_risen(before, before + 0.21, every)
    assert not has_risen(before, before - 1.0, every)
    assert has_risen(before, before * float("nan"), every)


def test_only_those_count_that_judge() -> None:
    before, first = torch.tensor([1.0, 3.0] * 50 + [float("nan"), 1e9, 2.0]), torch.arange(103) < 100
    after = torch.cat([before[:100] + 0.2, torch.tensor([1e9, float("nan"), 9.0])])
    assert not has_risen(before, after, first)
    assert has_risen(before, after + 0.01, first)


def test_a_tenth_is_held_out_and_never_more_than_asked() -> None:
    learned, held = split_held_out(10_000, 5_000, torch.Generator().manual_seed(0))
    assert 900 < len(held) < 1_100
    assert sorted([*learned.tolist(), *held.tolist()]) == list(range(10_000))
    learned, held = split_held_out(10_000, 200, torch.Generator().manual_seed(0))
    assert (len(learned), len(held)) == (9_800, 200)


def held_out(least: int) -> HeldOut[KeptEvents]:
    return HeldOut("held-out.safetensors", least, KeptEvents)


def judging(held: HeldOut[KeptEvents], events: KeptEvents, sane: torch.Tensor | None = None) -> list[int] | None:
    """The numbers of the events that judge, or None where they are too few."""
    of_slide = torch.ones(len(events), dtype=torch.bool) if sane is None else sane
    chosen, enough = held.judges(of_slide)
    return held.beside(events).positives[chosen].tolist() if enough else None


def test_the_guard_judges_by_as_few_of_the_last_slides_as_suffice() -> None:
    held = held_out(10)
    for slide in range(6):
        events = numbered(4 * slide, 4)
        assert judging(held, events) == (None if slide < 2 else list(range(4 * (slide - 2), 4 * slide + 4)))
        held.add(slide, events)
    assert len(held) == 12
    restored = held_out(10)
    restored.from_bytes(held.to_bytes(), torch.device("cpu"))
    assert restored.to_bytes() == held.to_bytes()
    for one in (held, restored):
        one.add(6, numbered(24, 4))
    assert restored.to_bytes() == held.to_bytes()
    assert judging(restored, numbered(28, 4)) == list(range(20, 32))


@pytest.mark.parametrize("seed", range(20))
def test_those_judge_that_would_be_held_if_the_sane_ones_were_added(seed: int) -> None:
    draw = np.random.default_rng(seed)
    held, number = held_out(int(draw.integers(2, 12))), 0
    for slide in range(12):
        events, sane = numbered(number, int(draw.integers(0, 8))), None
        number += len(events)
        sane = torch.from_numpy(draw.random(len(events)) < 0.6)
        found = judging(held, events, sane)
        held.add(slide, events.rows(sane.nonzero().squeeze(1)))
        expected = held.beside(numbered(0, 0)).positives.tolist()
        assert found == (expected if len(held) >= held.least else None)


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
    # What the poison did not reach is held all the same: a guard that rejects would else judge by the same past for ever.
    assert learner.held_out._parts[-1][0] == 100
    learner._rates[0] = 1e-2
    assert learner.learn(examples(frozen, seed=21), 101)


def test_without_the_guard_the_same_finite_update_is_kept() -> None:
    frozen = base()
    learner = trainer(frozen, rate=1.0, guard=False)
    before = copied(learner.adapter)
    assert learner.learn(examples(frozen), 1)
    assert not is_sound(learner.adapter, before, 0.5)
    guarded = trainer(frozen, rate=1.0)
    assert not guarded.learn(examples(frozen), 1)
    assert guarded.updates == 0


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
    learner.learn(broken, 1)
    assert learner.held_out.to_bytes() == {}
    learner.learn(data, 2)
    assert len(learner.held_out) == 20


def test_events_held_out_of_a_slide_judge_it_at_once() -> None:
    """The first slide that has as many as the guard needs: no earlier one could."""
    frozen = base()
    data = examples(frozen, n=400)
    for wanted in (20, 500):
        learner = trainer(frozen, held_out_events=wanted, max_step_rms=1e9)
        learner._rates[0] = 3.0
        assert learner.learn(data, 1) == (wanted == 500)


def test_a_slide_that_is_all_held_out_teaches_nothing_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    none = torch.zeros(0, dtype=torch.long)
    monkeypatch.setattr("dynmm_core.model.trainer.split_held_out", lambda n, most, generator: (none, torch.arange(n)))
    learner = trainer(base(), ewc_weight=1.0)
    before = plain_state(learner)
    assert learner.learn(examples(base(), n=3), 1)
    assert plain_state(learner) == before and len(learner.held_out) == 3
