"""What every costly model promises a runner: the promises of the simple ones, and that it learns when it should."""

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from dynmm_core.adapt.baseline_tuning import mean_ndcg
from dynmm_core.adapt.costly_tuning import COSTLY_GRIDS, COSTLY_TRIALS, tune_costly
from dynmm_core.adapt.settings import COSTLY_MODELS
from dynmm_core.adapt.tail import Tail
from dynmm_core.baselines.contract import Requests, TriedModel
from dynmm_core.baselines.costly import event_window, lightgcn, periodic_retrain
from dynmm_core.baselines.costly.models import COSTLY_NAMES, build_costly
from dynmm_core.errors import UserError
from dynmm_core.evidence.recents import Recents
from dynmm_core.model.bundle import CutState
from dynmm_core.model.pretraining import TrainingSettings
from dynmm_core.model.sasrec import SASRec
from dynmm_core.randomness import torch_generator
from tests.contract.test_baselines import long_stream, ranks, split
from tests.streams import Event, facts, in_slides, requests, stream

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SETTINGS = {
    "fine_tune": {"learning_rate": 1e-2, "rehearsed": 1, "half_life_ms": HOUR_MS},
    "periodic_retrain": {"days": 1, "epochs": 2, "half_life_ms": HOUR_MS},
    "lightgcn": {"days": 1, "learning_rate": 1e-2, "half_life_ms": HOUR_MS},
}
every_model = pytest.mark.parametrize("name", COSTLY_NAMES)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days of three hours, few steps: a stream of some hours sees several retrainings."""
    torch.set_num_threads(1)
    monkeypatch.setattr(event_window, "DAY_MS", 3 * HOUR_MS)
    monkeypatch.setattr(lightgcn, "FIRST_STEPS", 30)
    monkeypatch.setattr(lightgcn, "DAILY_STEPS", 10)
    monkeypatch.setattr(lightgcn, "EDGES_PER_STEP", 64)
    monkeypatch.setattr(periodic_retrain, "TRAINING", TrainingSettings(learning_rate=0.05, warm_up_steps=1, tokens_per_batch=200))


def backbone(items: int = 8, max_length: int = 6, width: int = 16) -> SASRec:
    model = SASRec(items, width, layers=1, heads=1, max_length=max_length, dropout=0.1)
    model.initialise(torch_generator(0, 0, "test"))
    return model.eval()


def taught(name: str, slides: list[list[Event]], past: int = 10, seed: int = 0) -> TriedModel:
    """A model whose stream begins behind the first ``past`` slides."""
    model = build_costly(name, SETTINGS[name], backbone(), seed)
    for number, slide in enumerate(slides):
        if number == past:
            model.begin(facts(slides[past - 1]).slide_end_ms)
        model.observe(facts(slide))
    return model


def test_the_names_are_those_of_the_settings() -> None:
    assert COSTLY_NAMES == COSTLY_MODELS == tuple(COSTLY_GRIDS)


@every_model
def test_ranking_and_freezing_change_no_state(name: str) -> None:
    learned, last, as_of_ms, known = split(long_stream(1, 160), 8)
    quiet = taught(name, learned)
    asked = build_costly(name, SETTINGS[name], backbone(), 0)
    for number, slide in enumerate(learned):
        if number == 10:
            asked.begin(facts(learned[9]).slide_end_ms)
        if number > 10:
            ranks(asked, facts(learned[number - 1]).slide_end_ms, known, last)
        asked.observe(facts(slide))
    ranker = asked.freeze(as_of_ms, known)
    assert np.array_equal(ranker.rank(requests(last)), ranker.rank(requests(last)))
    assert ranks(quiet, as_of_ms, known, last) == ranks(asked, as_of_ms, known, last)


@every_model
def test_a_frozen_ranker_stays_what_it_was(name: str) -> None:
    learned, last, _, known = split(long_stream(2, 160), 8)
    model = taught(name, learned[:-6])
    ranker = model.freeze(facts(learned[-7]).slide_end_ms, known)
    before = ranker.rank(requests(last))
    for slide in learned[-6:]:
        model.observe(facts(slide))
    model.observe(facts(stream([(1, 2, facts(learned[-1]).slide_end_ms + 4 * HOUR_MS), (1, 3, 1)])))
    assert not np.array_equal(before, model.freeze(facts(learned[-1]).slide_end_ms, known).rank(requests(last)))
    assert np.array_equal(before, ranker.rank(requests(last)))


@every_model
def test_requests_do_not_depend_on_their_batch(name: str) -> None:
    events = long_stream(3, 160)
    learned, last = in_slides(events[:120]), events[120:]
    known = max(event.item for event in events[:120])
    ranker = taught(name, learned).freeze(facts(learned[-1]).slide_end_ms, known)
    whole, asked = ranker.rank(requests(last)), requests(last)
    for size in (1, 7):
        parts = [ranker.rank(asked.take(np.arange(at, min(at + size, len(last))))) for at in range(0, len(last), size)]
        assert np.array_equal(whole, np.concatenate(parts, axis=1))
    backwards = np.arange(len(last))[::-1]
    assert np.array_equal(whole, np.array(ranker.rank(asked.take(backwards)))[:, ::-1])


@every_model
def test_padding_does_not_matter_and_unknown_items_are_misses(name: str) -> None:
    learned, last, as_of_ms, known = split(long_stream(4, 160), 8)
    ranker = taught(name, learned).freeze(as_of_ms, known)
    asked = requests(last)
    wider = Recents(np.pad(asked.recents.items, ((0, 0), (0, 7))), np.pad(asked.recents.time_ms, ((0, 0), (0, 7))))
    assert np.array_equal(ranker.rank(asked), ranker.rank(replace(asked, long_recents=wider)))
    for target in (0, known + 1, 10**6):
        better, ties = ranker.rank(requests(last, [target] * len(last)))
        assert better.tolist() == [-1] * len(last) and ties.tolist() == [0] * len(last)


@every_model
def test_the_same_slides_give_the_same_model_and_a_copy_goes_on_like_it(name: str) -> None:
    learned, last, as_of_ms, known = split(long_stream(6, 160), 8)
    model, half = taught(name, learned), copy.deepcopy(taught(name, learned[: len(learned) // 2]))
    for slide in learned[len(learned) // 2 :]:
        half.observe(facts(slide))
    assert ranks(model, as_of_ms, known, last) == ranks(taught(name, learned), as_of_ms, known, last)
    assert ranks(model, as_of_ms, known, last) == ranks(half, as_of_ms, known, last)
    assert ranks(model, as_of_ms, known, last) != ranks(taught(name, learned, seed=1), as_of_ms, known, last)


@every_model
def test_the_backbone_that_it_starts_from_stays_as_it_is(name: str) -> None:
    learned, *_ = split(long_stream(6, 160), 8)
    start = backbone()
    model = build_costly(name, SETTINGS[name], start, 0)
    model.begin(0)
    for slide in learned:
        model.observe(facts(slide))
    assert all(torch.equal(a, b) for a, b in zip(start.parameters(), backbone().parameters(), strict=True))


@every_model
def test_consumed_items_are_no_candidates_but_the_target_is(name: str) -> None:
    learned, last, as_of_ms, known = split(long_stream(7, 160), 8)
    ranker, asked = taught(name, learned).freeze(as_of_ms, known), requests(last)
    every = [ranker.rank(requests(last, [item] * len(last)))[0] for item in range(1, known + 1)]
    open_ = [ranker.rank(keeping(requests(last, [item] * len(last))))[0] for item in range(1, known + 1)]
    for row, event in enumerate(last):
        consumed = {item for item, _ in event.before if item <= known}
        for item in range(1, known + 1):
            above = sum(open_[other - 1][row] < open_[item - 1][row] for other in consumed - {item})
            assert every[item - 1][row] == open_[item - 1][row] - above
    assert ranker.rank(keeping(asked))[0].sum() > ranker.rank(asked)[0].sum()


def keeping(asked: Requests) -> Requests:
    """The same requests, with consumed items as candidates."""
    return replace(asked, consumed_rows=np.zeros(0, np.int64), consumed_items=np.zeros(0, np.int64))


@every_model
def test_new_items_can_be_ranked_after_their_first_slide(name: str) -> None:
    rows = [(user, user % 4 + 1, 60_000) for user in range(1, 9)] * 4
    learned = in_slides(stream(rows + [(user, 50, 1_000) for user in range(1, 9)]))
    model = build_costly(name, SETTINGS[name], backbone(items=4), 0)
    for slide in learned[:-1]:
        model.observe(facts(slide))
    model.begin(facts(learned[-2]).slide_end_ms)
    model.observe(facts(learned[-1]))
    asked = requests(stream([(20, item, 0) for item in (1, 2, 3, 4)])[-1:], [5])
    better, ties = model.freeze(facts(learned[-1]).slide_end_ms, 5).rank(asked)
    assert better[0] >= 0 and ties[0] == 0


@every_model
def test_nothing_that_comes_later_changes_what_an_event_gets(name: str) -> None:
    log = long_stream(8, 300)
    target = 250

    def figure(events: list[Event]) -> float:
        columns = (np.array([getattr(event, field) for event in events]) for field in ("user", "item", "time_ms"))
        cut = CutState([], [], *columns, np.zeros((len(events), 0), np.int64))
        model = build_costly(name, SETTINGS[name], backbone(), 0)
        return float(mean_ndcg(cut, 200, [model], np.array([target]), 6)[0][0])

    later = [Event(3, 1 + k % 3, log[-1].time_ms, (), 0) for k in range(len(log) - target - 1)]
    assert figure(log) == figure(log[: target + 1] + later)


def test_tuning_tries_seven_settings_of_each_and_takes_the_best() -> None:
    assert {len(grid) for grid in COSTLY_GRIDS.values()} == {7} and COSTLY_TRIALS == 21
    log = [Event(one.user, one.item, 6 * one.time_ms, (), 0) for one in long_stream(9, 300)]
    columns = (np.array([getattr(event, field) for event in log]) for field in ("user", "item", "time_ms"))
    cut, finished = CutState([], [], *columns, np.zeros((len(log), 0), np.int64)), []
    tuned = tune_costly(cut, Tail.of(cut), backbone(), HOUR_MS, 0, finished.append)
    assert sum(finished) == len(tuned.trials) == COSTLY_TRIALS
    for name, grid in COSTLY_GRIDS.items():
        mine = [trial for trial in tuned.trials if trial["model"] == name]
        assert [{key: trial[key] for key in one} for trial, one in zip(mine, grid, strict=True)] == grid
        best = max(mine, key=lambda trial: trial["ndcg@10"])
        assert tuned.settings[name] == {**{k: best[k] for k in grid[0]}, "half_life_ms": HOUR_MS}
        assert len({trial["ndcg@10"] for trial in mine}) > 1


def test_a_wrong_name_or_setting_is_told() -> None:
    with pytest.raises(UserError, match="oracle is no costly model"):
        build_costly("oracle", {}, backbone(), 0)
    with pytest.raises(UserError, match="lightgcn: settings"):
        build_costly("lightgcn", {"epochs": 1}, backbone(), 0)


@pytest.mark.parametrize("name", ["periodic_retrain", "lightgcn"])
def test_retraining_happens_once_for_each_day_of_event_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_window, "DAY_MS", DAY_MS)
    model = build_costly(name, {**SETTINGS[name], "days": 3}, backbone(), 0)
    # Slides of an hour, from 20:00 of day 0; hours 30 to 60 and 99 to 121 are silent.
    hours = [hour for hour in range(20, 130) if not 30 <= hour < 60 and not 99 <= hour < 121]
    seen: list[tuple[int, list[torch.Tensor]]] = []
    for hour in hours:
        slide = [Event(user, 3 * user + hour % 4, hour * HOUR_MS + user, (), 0) for user in range(1, 5)]
        if hour == 22:
            model.begin(22 * HOUR_MS)
        model.observe(replace(facts(slide), slide_end_ms=(hour + 1) * HOUR_MS))
        seen.append((hour + 1, learned_weights(model)))
    assert model.retrained_at_ms == [hour * HOUR_MS for hour in (24, 61, 72, 96, 122)]
    pairs = list(pairwise(seen))[2:]
    changed = [end for (_, old), (end, new) in pairs if not all(map(same, old, new))]
    assert changed == [24, 61, 72, 96, 122]


def learned_weights(model: TriedModel) -> list[torch.Tensor]:
    if hasattr(model, "model"):
        return [tensor.clone() for tensor in model.model.state_dict().values()]
    return [model._user_table.clone(), model._item_table.clone()]


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one[: len(other)], other[: len(one)])
