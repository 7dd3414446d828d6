"""Tuning ranks each event with what was known before its slide, gives every model as many trials, and takes the best."""

import numpy as np
import pytest

from dynmm_core.adapt.baseline_tuning import BASELINE_TRIALS, GRIDS, Grids, mean_ndcg, tune_baselines
from dynmm_core.adapt.tail import SLIDE_MS, Tail
from dynmm_core.baselines.models import build_model, model_names
from dynmm_core.metrics.ranking import METRICS, expected_metrics
from dynmm_core.model.bundle import CutState
from tests.slow_baselines import SLOW_MODELS
from tests.streams import Event, in_slides, stream

MINUTE_MS = 60_000
SOME: Grids = {
    "window_popularity": [{"window_ms": 60 * MINUTE_MS}, {"window_ms": 180 * MINUTE_MS}],
    "decayed_popularity": [{"half_life_ms": 90 * MINUTE_MS}, {"half_life_ms": 600 * MINUTE_MS}],
    "sequential_rule": [{"half_life_ms": 300 * MINUTE_MS}, {"half_life_ms": 600 * MINUTE_MS}],
    "session_knn": [{"half_life_ms": 90 * MINUTE_MS, "sessions": 3, "neighbours": 2}],
}


def events(seed: int = 0, number: int = 500) -> list[Event]:
    """A stream of some days in which users come back to some items, with pauses longer than a session, while new items appear."""
    rng = np.random.default_rng(seed)
    users = rng.integers(1, 9, number)
    items = (users * 3 + rng.integers(0, 6, number)) % 25 + np.arange(number) // 40
    gaps = rng.integers(1, 12 * MINUTE_MS, number)
    return stream([(int(u), int(i), int(g)) for u, i, g in zip(users, items, gaps, strict=True)])


def cut_state(log: list[Event]) -> CutState:
    columns = (np.array([getattr(event, name) for event in log]) for name in ("user", "item", "time_ms"))
    return CutState([], [], *columns, np.zeros((len(log), 0), np.int64))


def ndcg_by_definition(log: list[Event], row: int, name: str, setting: dict[str, int]) -> list[float]:
    """NDCG@10 of every event from ``row`` on, which begins a slide."""
    found = []
    for slide in in_slides(log[row:], SLIDE_MS):
        # The slide before may be empty; what it leaves behind is what the last one with events did.
        earlier = [event for event in log if event.time_ms < slide[0].time_ms // SLIDE_MS * SLIDE_MS]
        as_of_ms = (earlier[-1].time_ms // SLIDE_MS + 1) * SLIDE_MS
        known = max(event.item for event in earlier)
        slow = SLOW_MODELS[name](setting, earlier, as_of_ms, known)
        for event in slide:
            own = {item: (said or -1.0, popular) for item, (said, popular) in slow(event).items()}
            consumed = {item for item, _ in event.before} - {event.item}
            candidates = [score for item, score in own.items() if item not in consumed]
            mine = own.get(event.item)
            better = -1 if mine is None else sum(score > mine for score in candidates)
            ties = 0 if mine is None else sum(score == mine for score in candidates) - 1
            found.append(float(expected_metrics(np.array([better]), np.array([ties]))[0, METRICS.index("ndcg@10")]))
    return found


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("block", [1, 100, 10**6])
def test_the_mean_is_that_of_the_definition(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = events()
    row = next(k for k in range(300, 500) if log[k].time_ms // SLIDE_MS != log[k - 1].time_ms // SLIDE_MS)
    monkeypatch.setattr("dynmm_core.adapt.baseline_tuning.BLOCK_EVENTS", block)
    means = mean_ndcg(cut_state(log), row, [build_model(name, *SOME[name])], np.arange(row, len(log)))[0]
    for mean, setting in zip(means, SOME[name], strict=True):
        expected = ndcg_by_definition(log, row, name, setting)
        assert len(expected) == len(log) - row and mean == pytest.approx(np.mean(expected), abs=1e-9)
        few = np.arange(row, len(log), 7)
        some = mean_ndcg(cut_state(log), row, [build_model(name, setting)], few)[0]
        assert some[0] == pytest.approx(np.mean(np.array(expected)[few - row]), abs=1e-9)


def test_nothing_that_comes_later_changes_what_an_event_gets() -> None:
    log = events()
    row = next(k for k in range(300, 500) if log[k].time_ms // SLIDE_MS == log[k - 1].time_ms // SLIDE_MS)
    target = row + 60
    models = {name: GRIDS[name][:2] for name in model_names()}

    def figures(one: list[Event]) -> list[list[float]]:
        built = [build_model(name, *grid) for name, grid in models.items()]
        return [means.tolist() for means in mean_ndcg(cut_state(one), row, built, np.array([row, target]))]

    poisoned = log[: target + 1] + [Event(9, 1 + k % 3, log[-1].time_ms, (), 0) for k in range(len(log) - target - 1)]
    assert figures(log) == figures(poisoned)


def test_every_model_gets_seven_trials_and_the_best_is_taken() -> None:
    assert {len(grid) for grid in GRIDS.values()} == {7} and tuple(GRIDS) == model_names()
    cut, finished = cut_state(events(1)), []
    tuned = tune_baselines(cut, Tail.of(cut), finished.append)
    assert sum(finished) == len(tuned.trials) == BASELINE_TRIALS == 42
    for name, grid in GRIDS.items():
        mine = [trial for trial in tuned.trials if trial["model"] == name]
        best = max(mine, key=lambda trial: trial["ndcg@10"])
        assert [{k: trial[k] for k in one} for trial, one in zip(mine, grid, strict=True)] == grid
        assert tuned.settings[name] == {k: v for k, v in best.items() if k not in ("model", "ndcg@10")}


def test_only_so_many_events_are_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("dynmm_core.adapt.baseline_tuning.RANKED_TAIL_EVENTS", 20)
    monkeypatch.setattr(
        "dynmm_core.adapt.baseline_tuning.mean_ndcg",
        lambda cut, row, models, ranked: asked.extend(ranked) or [[0.0]] * len(models),
    )
    cut = cut_state(events())
    tune_baselines(cut, Tail.of(cut), lambda _: None, {"window_popularity": SOME["window_popularity"][:1]})
    assert len(asked) == 20 and min(asked) == Tail.of(cut).row and max(asked) == 499
