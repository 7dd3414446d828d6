"""The loop on lists: what it may see, when a version counts, and what equals the static base."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from dynmm_core.adapt import slide_ranking
from dynmm_core.adapt.histories import Histories
from dynmm_core.adapt.loop import AdaptLoop
from dynmm_core.adapt.loop_settings import LoopSettings
from dynmm_core.adapt.published import publish
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.adapt.strata import WindowRow
from dynmm_core.adapt.stream_state import new_state, state_at
from dynmm_core.adapt.tail import slides
from dynmm_core.adapt.trainers import new_learners
from dynmm_core.evidence.decayed_table import KEY_SHIFT
from dynmm_core.metrics.ranking import METRICS
from dynmm_core.model.aligner import BaseAligner
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.bundle import Choices, CutState
from dynmm_core.model.features import DECAYS
from dynmm_core.model.online import OnlineSettings
from dynmm_core.model.sasrec import SASRec
from dynmm_core.randomness import torch_generator

HOUR_MS = 3_600_000
START_MS = 1_700_000_400_000 // HOUR_MS * HOUR_MS
MODELS = ("static", "window_popularity", "adapted_latents", "adapted")
CUT, BASE_ITEMS, BASE_USERS, NEW_ITEMS = 1_200, 30, 60, 6


def stream(seed: int = 0, events: int = 2_000) -> CutState:
    """A log whose popular items move every ten hours, with six items born after the cut."""
    rng = np.random.default_rng(seed)
    times = np.sort(START_MS + rng.integers(0, 40 * HOUR_MS, events))
    phase = (times - START_MS) // (10 * HOUR_MS)
    items = 1 + (rng.geometric(0.2, events) + 7 * phase) % BASE_ITEMS
    items[CUT:] = np.where(rng.random(events - CUT) < 0.2, BASE_ITEMS + rng.integers(1, NEW_ITEMS + 1, events - CUT), items[CUT:])
    items[:BASE_ITEMS] = np.arange(1, BASE_ITEMS + 1)
    # Indices are given out in order of first appearance.
    fresh = [i for i in dict.fromkeys(items[CUT:].tolist()) if i > BASE_ITEMS]
    renamed = {old: BASE_ITEMS + 1 + place for place, old in enumerate(fresh)}
    items = np.array([renamed.get(i, i) for i in items.tolist()])
    return CutState([], [], rng.integers(1, BASE_USERS + 1, events), items, times, rng.integers(0, 3, (events, 1)))


def loop_over(log: CutState, rate: float = 1e-2, **changes: object) -> AdaptLoop:
    model = SASRec(BASE_ITEMS, 16, layers=1, heads=1, max_length=8, dropout=0.0)
    model.initialise(torch_generator(0, 0, "test"))
    aligner = BaseAligner(16, 16)
    aligner.fit(model.item_embedding.weight.detach()[1:])
    base = FrozenBase(model, aligner, torch.device("cpu"))
    settings = LoopSettings(
        models=MODELS, history="event", publish_delay_ms=0, rank_from_ms=None, rank_to_ms=None,
        keep_consumed=True, summaries=True, base_users=BASE_USERS, base_items=BASE_ITEMS,
        base_newest_ms=int(log.event_time_ms[CUT - 1]), fold_in=True,
    )  # fmt: skip
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    online = OnlineSettings(learning_rate=rate, stability_weight=1e-3, batch_size=32)  # about a slide
    learners = new_learners(base, online, seed=1, context_columns=1)
    baselines = {"window_popularity": {"window_ms": HOUR_MS}, "sequential_rule": {"half_life_ms": HOUR_MS}}
    choices = Choices(
        half_lives_ms=(HOUR_MS,) * DECAYS, adapter_lr=rate, stability_weight=1e-3, pair_half_life_ms=HOUR_MS, baselines=baselines
    )
    start_ms = next(slides(log, CUT)).slide_end_ms - HOUR_MS
    state = state_at(log, CUT, start_ms, new_state(BASE_ITEMS, 8, choices, 1, {"window_popularity": {"window_ms": HOUR_MS}}))
    loop = AdaptLoop(base, learners, state, start_ms, BASE_ITEMS, settings)
    if settings.history == "version":
        served = Histories(BASE_ITEMS, 8)
        served.observe(log.user_idx[:CUT], log.item_idx[:CUT], log.event_time_ms[:CUT])
        loop.serve_only_versions(served)
    return loop


def run(log: CutState, **changes: object) -> list[WindowRow]:
    loop = loop_over(log, **changes)
    return [row for slide in slides(log, CUT) for row in loop.step(slide).windows]


def total(rows: list[WindowRow], model: str, metric: str = "ndcg@10", stratum: str = "all") -> float:
    picked = [row for row in rows if row.model == model and row.stratum == stratum]
    return sum(row.sums[METRICS.index(metric)] for row in picked) / sum(row.n for row in picked)


def test_without_learning_and_without_summaries_adapted_is_static_exactly() -> None:
    rows = run(stream(), rate=0.0, summaries=False, fold_in=False)
    by_model = {
        m: [(r.window_start_ms, r.stratum, r.n, r.sums) for r in rows if r.model == m] for m in ("static", "adapted_latents")
    }
    assert by_model["static"] == by_model["adapted_latents"]


def test_on_a_drifting_stream_adaptation_beats_the_frozen_base() -> None:
    rows = run(stream())
    assert total(rows, "adapted_latents") > 1.05 * total(rows, "static")
    assert total(rows, "adapted") > 1.05 * total(rows, "adapted_latents")


def test_every_online_event_is_ranked_once_by_every_model() -> None:
    log = stream()
    rows = run(log)
    for model in MODELS:
        assert sum(row.n for row in rows if row.model == model and row.stratum == "all") == len(log.item_idx) - CUT


def test_an_item_born_in_this_slide_is_a_miss_for_every_model() -> None:
    log = stream()
    slide = next(slides(log, CUT))
    born = slide.item_idx > BASE_ITEMS
    assert born.any()
    for row in loop_over(log).step(slide).windows:
        if row.stratum == "new_item":
            assert row.n == born.sum()
            assert set(row.sums) == {0.0}


def test_poisoning_the_future_changes_no_earlier_prediction() -> None:
    log = stream()
    cutoff = int(log.event_time_ms[1_600])
    poisoned = np.where(log.event_time_ms > cutoff, 1, log.item_idx)
    changed = replace(log, item_idx=poisoned, user_idx=np.where(log.event_time_ms > cutoff, 1, log.user_idx))
    bounds = {"rank_to_ms": cutoff + 1}
    assert run(log, **bounds) == run(changed, **bounds)


def test_a_seeded_leak_is_caught_by_poisoning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that already hold the slide itself: the poison test must notice."""

    def leaking(self: AdaptLoop, slide: SlideEvents) -> list[object]:
        state = copy.deepcopy(self.state)
        state.observe(slide)
        activity = state.counters.freeze(slide.slide_end_ms, self.num_items)
        self.published[-1] = publish(
            self.base,
            self.folded_items.tables(self.num_items),
            self.learners,
            activity,
            state,
            self.newest_event_ms,
            -slide.slide_end_ms,
        )
        return original(self, slide)

    original = AdaptLoop._requests
    monkeypatch.setattr(AdaptLoop, "_requests", leaking)
    with pytest.raises(AssertionError):
        test_poisoning_the_future_changes_no_earlier_prediction()


def test_a_delayed_version_is_not_seen_before_its_time() -> None:
    log = stream()
    loop = loop_over(log, publish_delay_ms=HOUR_MS // 2)
    every = list(slides(log, CUT))
    loop.step(every[0])
    early, late = loop._requests(every[1])
    assert early.published.activity.as_of_ms == every[0].slide_end_ms - HOUR_MS
    assert late.published.activity.as_of_ms == every[0].slide_end_ms
    split = every[0].slide_end_ms + HOUR_MS // 2
    assert (every[1].event_time_ms[: early.stop] < split).all() and (every[1].event_time_ms[late.start :] >= split).all()


def test_after_an_empty_hour_the_last_version_is_served_as_it_was() -> None:
    log = stream()
    first, second, *_ = slides(log, CUT)
    loop = loop_over(log)
    loop.step(first)
    later = replace(second, slide_end_ms=second.slide_end_ms + 5 * HOUR_MS, event_time_ms=second.event_time_ms + 5 * HOUR_MS)
    (request,) = loop._requests(later)
    assert request.published.activity.as_of_ms == first.slide_end_ms


def test_version_history_shows_nothing_of_the_running_slide() -> None:
    log = stream()
    slide = next(slides(log, CUT))
    loop = loop_over(log, history="version")
    (request,) = loop._requests(slide)
    before = {user: (log.user_idx[:CUT] == user).sum() for user in set(slide.user_idx.tolist())}
    assert request.view.length.tolist() == [before[user] for user in slide.user_idx.tolist()]


def test_candidates_hit_counts_the_ranked_events_alone() -> None:
    log = stream()
    every = list(slides(log, CUT))
    whole = [loop_over(log).step(every[0])]
    middle = int(np.median(every[0].event_time_ms))
    halves = [loop_over(log, **{bound: middle}).step(every[0]) for bound in ("rank_to_ms", "rank_from_ms")]
    assert sum(one.candidates_hit or 0 for one in halves) == whole[0].candidates_hit
    assert 0 < (halves[0].candidates_hit or 0) < (whole[0].candidates_hit or 0) <= len(every[0].item_idx)
    assert loop_over(log, models=("static",)).step(every[0]).candidates_hit is None


def test_staleness_grows_with_the_publish_delay() -> None:
    def staleness(rows: list[WindowRow], model: str) -> int:
        return sum(row.staleness_ms for row in rows if row.model == model and row.stratum == "all")

    log = stream()
    fresh, delayed = run(log), run(log, publish_delay_ms=3 * HOUR_MS)
    assert staleness(fresh, "adapted") < staleness(delayed, "adapted") < staleness(delayed, "static")
    assert staleness(fresh, "static") == staleness(delayed, "static")


def test_after_a_rejected_update_what_was_learned_is_as_before_and_counts_go_on() -> None:
    log = stream()
    first, second, *_ = slides(log, CUT)
    loop = loop_over(log, rate=2.0)
    learner = loop.learners.adapter
    before, events = learner.to_bytes(), loop.activity.events.copy()
    assert not loop.step(first).update_accepted
    for name in ("adapter.safetensors", "serving.safetensors", "optimiser.safetensors", "trainer.json", "replay.json"):
        assert learner.to_bytes()[name] == before[name]
    assert loop.activity.events.sum() == events.sum() + len(first.item_idx)
    (request,) = loop._requests(second)
    assert request.published.activity.as_of_ms == first.slide_end_ms


def test_consumed_items_are_no_candidates_but_a_target_consumed_before_is_ranked() -> None:
    rows = run(stream(), keep_consumed=False)
    kept = run(stream(), keep_consumed=True)
    assert total(rows, "window_popularity", "hr@10") != total(kept, "window_popularity", "hr@10")
    assert sum(r.n for r in rows) == sum(r.n for r in kept)


def test_version_history_shows_a_slide_once_its_version_is_published() -> None:
    log = stream()
    first, second, *_ = slides(log, CUT)
    loop = loop_over(log, history="version", publish_delay_ms=HOUR_MS // 2)
    loop.step(first)
    early, late = loop._requests(second)
    before, fresh = (np.bincount(users, minlength=BASE_USERS + 1) for users in (log.user_idx[:CUT], first.user_idx))
    assert early.view.length.tolist() == before[second.user_idx[early.rows]].tolist()
    assert late.view.length.tolist() == (before + fresh)[second.user_idx[late.rows]].tolist()
    assert fresh[second.user_idx[early.rows]].any() and fresh[second.user_idx[late.rows]].any()


def test_negatives_are_drawn_half_evenly_and_half_by_recent_events() -> None:
    loop, slide = loop_over(stream()), next(slides(stream(), CUT))
    expected = 0.5 / BASE_ITEMS + 0.5 * loop.activity.recent / loop.activity.recent.sum()
    drawn, log_q = loop._examples(slide, loop._requests(slide)).negatives.draw(10_000, torch_generator(0, 0, "test"))
    assert log_q.exp().numpy() == pytest.approx(expected[drawn.numpy()], rel=1e-5)
    assert set(drawn.tolist()) == set(range(1, BASE_ITEMS + 1))
    assert expected[1:].max() > 2 * expected[1:].min()


def test_an_item_is_cold_below_five_events_of_its_whole_life() -> None:
    log = stream()
    slide = next(slides(log, CUT))
    counted = np.bincount(log.item_idx[:CUT], minlength=BASE_ITEMS + NEW_ITEMS + 1)
    cold = loop_over(log)._strata(slide)["cold_item"]
    assert cold.tolist() == (counted[slide.item_idx] < 5).tolist() and 0 < cold.mean() < 1


def test_the_head_is_told_the_age_of_the_version_that_a_request_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[np.ndarray] = []
    state = slide_ranking.request_state
    monkeypatch.setattr(slide_ranking, "request_state", lambda users, age_ms: told.append(age_ms) or state(users, age_ms))
    loop, every = loop_over(stream(), publish_delay_ms=HOUR_MS // 2), list(slides(stream(), CUT))
    loop.step(every[0])
    told.clear()
    loop.step(every[1])
    times, end_ms = every[1].event_time_ms, every[0].slide_end_ms
    assert np.concatenate(told).tolist() == (times - np.where(times < end_ms + HOUR_MS // 2, end_ms - HOUR_MS, end_ms)).tolist()


def test_what_opens_a_session_is_counted_apart_from_what_comes_later() -> None:
    table = loop_over(stream()).state.openings._table
    assert 0.0 < ((table._keys >> KEY_SHIFT) & 1).mean() < 1.0
