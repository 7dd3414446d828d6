"""The online head: what it starts as, that it learns, what it remembers, and that nothing of it is lost in bytes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dynmm_core.model.features import USER_SUMMARY_DIM
from dynmm_core.model.head import REQUEST_STATE_DIM, OnlineHead, request_state
from dynmm_core.model.head_trainer import HeadExamples, HeadSettings, HeadTrainer
from dynmm_core.randomness import torch_generator

FEATURES, STATE, NEGATIVES = 6, 3, 10


def trainer(seed: int = 0, **settings: float) -> HeadTrainer:
    head = OnlineHead(FEATURES, STATE)
    head.initialise(torch.tensor([1.0] + [0.0] * (FEATURES - 1)), torch_generator(seed, 0, "head"))
    return HeadTrainer(head, HeadSettings(**settings), seed)  # type: ignore[arg-type]


def examples(rows: int, seed: int = 0) -> HeadExamples:
    """Requests whose positive is known by feature 1 where the first state is on, else by feature 2."""
    rng = np.random.default_rng(seed)
    features, state = rng.normal(size=(rows, 1 + NEGATIVES, FEATURES)), rng.integers(0, 2, (rows, STATE)).astype(np.float32)
    features[np.arange(rows), 0, np.where(state[:, 0] > 0, 1, 2)] += 3.0
    log_q = np.zeros((rows, 1 + NEGATIVES), np.float32)
    return HeadExamples(torch.from_numpy(features).half(), torch.from_numpy(state), torch.from_numpy(log_q))


def hits(head: OnlineHead, data: HeadExamples) -> float:
    with torch.no_grad():
        return float((head(data.features.float(), data.state).argmax(1) == 0).float().mean())


def test_it_starts_as_the_linear_score_it_is_given() -> None:
    data = examples(20)
    with torch.no_grad():
        scores = trainer().head(data.features.float(), data.state)
    assert torch.equal(scores, data.features[:, :, 0].float())


def test_it_learns_weights_that_depend_on_the_state() -> None:
    learner, fresh = trainer(), examples(500, seed=99)
    before = hits(learner.serving, fresh)
    for slide in range(40):
        assert learner.learn(examples(200, seed=slide), slide)
    assert hits(learner.serving, fresh) > before + 0.4
    weight = (learner.head.weight + learner.head.by_state[0]).detach()
    assert weight[1] > learner.head.weight[1] + 0.2 > learner.head.by_state[0, 2] + 0.2


def test_it_ranks_by_the_scores_that_it_learns_with() -> None:
    learner, data = trainer(), examples(60)
    for slide in range(5):
        assert learner.learn(data, slide)
    features, row = data.features.float(), torch.arange(60).repeat_interleave(1 + NEGATIVES)
    some = torch.rand(len(row), generator=torch_generator(0, 0, "some")) < 0.7
    with torch.no_grad():
        expected = learner.head(features, data.state).flatten()[some]
    found = learner.head.ranking(features.flatten(0, 1)[some].T, data.state, row[some])
    assert torch.allclose(found, expected, atol=1e-5) and found.std() > 0.1


def test_a_version_older_than_any_that_was_learned_from_counts_as_the_oldest_of_those() -> None:
    learner, data = trainer(), examples(200)
    data.state[:, -1] = torch.rand(200, generator=torch_generator(0, 0, "ages"))
    for slide in range(5):
        assert learner.learn(data, slide)
    features, oldest = data.features.float()[:1], float(data.state[:, -1].max())
    scores = {}
    for age in (0.5 * oldest, oldest, 2.0 * oldest):
        state = data.state[:1].clone()
        state[:, -1] = age
        with torch.no_grad():
            scores[age] = learner.serving(features, state)
    assert torch.equal(scores[2.0 * oldest], scores[oldest])
    assert not torch.equal(scores[0.5 * oldest], scores[oldest])
    again = trainer()
    again.from_bytes(learner.to_bytes())
    assert again.serving.greatest_age == learner.serving.greatest_age == pytest.approx(oldest)


def test_the_same_seed_and_slides_give_the_same_bytes_whatever_came_between() -> None:
    whole, first = trainer(), trainer()
    for slide in range(6):
        whole.learn(examples(50, slide), slide)
    for slide in range(3):
        first.learn(examples(50, slide), slide)
    second = trainer(seed=0)
    second.from_bytes(first.to_bytes())
    assert second.to_bytes() == first.to_bytes()
    for slide in range(3, 6):
        second.learn(examples(50, slide), slide)
    assert second.to_bytes() == whole.to_bytes()


def test_the_memory_holds_the_newest_slides_and_unchanged_parts_stay_the_same_bytes() -> None:
    learner = trainer(kept_per_slide=10, capacity=35)
    for slide in range(3):
        learner.learn(examples(20, slide), slide)
    early = {name: part for name, part in learner.to_bytes().items() if "memory" in name}
    for slide in range(3, 8):
        learner.learn(examples(20, slide), slide)
    late = {name: part for name, part in learner.to_bytes().items() if "memory" in name}
    assert sorted(late) == [f"head-memory-{slide}.safetensors" for slide in (4, 5, 6, 7)]
    assert sorted(early) == [f"head-memory-{slide}.safetensors" for slide in (0, 1, 2)]


def test_an_update_that_is_not_finite_is_rejected_and_leaves_nothing_behind() -> None:
    learner = trainer(guard=False)
    learner.learn(examples(50), 0)
    before, broken = learner.to_bytes(), examples(50, 1)
    broken.features[3, 2, 1] = torch.inf
    assert not learner.learn(broken, 1)
    assert learner.to_bytes() == before
    assert learner.learn(examples(50, 2), 2)


def test_a_finite_update_that_the_held_out_examples_disprove_is_rejected() -> None:
    learner = trainer(held_out_events=40)
    for slide in range(10):
        assert learner.learn(examples(100, slide), slide)
    before = learner.to_bytes()
    turned = examples(100, 11)
    # Whoever was the positive is made the worst candidate.
    turned = HeadExamples(-turned.features * 8, turned.state, turned.log_q)
    for group in learner._optimiser.param_groups:
        group["lr"] = 2.0
    learner.settings = replace(learner.settings, max_step_rms=1e9)
    assert not learner.learn(turned, 11)
    after = learner.to_bytes()
    assert {name for name in before if before[name] != after[name]} <= {"head-held-out.safetensors"}
    assert after.keys() == before.keys()


def test_an_update_that_moves_too_far_is_rejected() -> None:
    assert not trainer(linear_lr=3.0, mlp_lr=3.0).learn(examples(50), 0)
    assert trainer(linear_lr=3.0, mlp_lr=3.0, guard=False).learn(examples(50), 0)


def test_a_slide_without_examples_changes_nothing() -> None:
    learner = trainer()
    before = learner.to_bytes()
    assert learner.learn(HeadExamples.none(FEATURES, STATE, NEGATIVES), 0)
    assert learner.to_bytes() == before


def test_settling_goes_on_until_there_have_been_so_many_updates() -> None:
    learner = trainer()
    learner.learn(examples(100), 0)
    before = hits(learner.serving, examples(500, 99))
    learner.settle(60, 0)
    assert learner.updates == 60
    assert hits(learner.serving, examples(500, 99)) > before
    learner.settle(10, 0)
    assert learner.updates == 60


def test_a_slide_is_gone_through_once_or_until_there_are_steps_enough() -> None:
    settings = HeadSettings(new_per_step=64, least_steps=2)
    assert [settings.steps(examples) for examples in (1, 64, 129, 1_024)] == [2, 2, 3, 16]
    one, more = trainer(), trainer()
    one.learn(examples(20, 0), 0)
    more.learn(examples(640, 0), 0)
    assert (one.updates, more.updates) == (2, 10)


@pytest.mark.parametrize("row", [0, 77, 199])
def test_a_broken_example_is_met_in_whatever_place_it_is(row: int) -> None:
    learner, broken = trainer(guard=False), examples(200)
    broken.features[row, 3, 2] = torch.inf
    before = learner.to_bytes()
    assert not learner.learn(broken, 0)
    assert learner.to_bytes() == before


def test_rehearsed_examples_are_drawn_from_the_whole_memory() -> None:
    learner = trainer(rehearsed_per_step=30, guard=False)
    for slide in range(4):
        learner.learn(examples(20, slide), slide)
    drawn = HeadExamples.joined(learner._rehearsed(torch_generator(0, 9, "test")))
    kept = HeadExamples.joined([one.examples for one in learner._memory])
    rows = [int((kept.features == one).flatten(1).all(1).nonzero().squeeze()) for one in drawn.features]
    assert len(set(rows)) == 30 and {row // (len(kept) // 4) for row in rows} == {0, 1, 2, 3}


def test_a_requests_state_ends_with_the_age_of_its_version() -> None:
    state = request_state(torch.ones(3, USER_SUMMARY_DIM), np.array([-5, 0, 3_600_000]))
    assert state.shape == (3, REQUEST_STATE_DIM)
    assert state[:, -1].tolist() == pytest.approx([0.0, 0.0, math.log(13) / 2])


def test_a_candidate_that_was_drawn_more_often_counts_for_less() -> None:
    learner, data = trainer(), examples(5)
    data.log_q[:, 1:] = torch.linspace(-1.0, 2.0, NEGATIVES)
    with torch.no_grad():
        scores = learner.head(data.features.float(), data.state)
    expected = torch.logsumexp(scores - data.log_q, 1) - scores[:, 0]
    assert torch.allclose(learner._losses(data), expected, atol=1e-5)


def test_the_linear_part_and_the_rest_have_their_own_rates_and_their_average_serves() -> None:
    learner = trainer(mlp_lr=0.0, least_steps=1, guard=False)
    start = learner.head.weight.detach().clone()
    assert learner.learn(examples(20), 0) and learner.updates == 1
    assert not learner.head.w2.weight.any() and not torch.equal(learner.head.weight, start)
    assert torch.allclose(learner.serving.weight, start.lerp(learner.head.weight, 1 - 2 / 11))


def test_held_out_examples_are_not_learned_from_and_broken_ones_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, data, seen = trainer(held_out_events=20), examples(400), []
    step = learner._step
    monkeypatch.setattr(learner, "_step", lambda batch: seen.append(batch) or step(batch))
    assert learner.learn(data, 0)
    held = learner.held_out.beside(data.rows(torch.arange(0)))
    assert len(held) == 20
    learned = HeadExamples.joined(seen).features[:, 0]
    assert len(learned.unique(dim=0)) == 380 and not (learned[:, None] == held.features[:, 0]).all(2).any()
    broken = examples(400, 1)
    broken.features[:, 0, 0] = -1_000.0
    before = learner.held_out.to_bytes()
    learner.learn(broken, 1)
    assert learner.held_out.to_bytes() == before
