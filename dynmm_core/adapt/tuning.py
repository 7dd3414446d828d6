"""What depends on data, chosen on the tail with a base that never saw it, within a fixed number of trials."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from dynmm_core.adapt.baseline_tuning import BASELINE_TRIALS, RANKED_TAIL_EVENTS, tune_baselines
from dynmm_core.adapt.loop import AdaptLoop
from dynmm_core.adapt.loop_settings import HEAD_MODEL, LoopSettings
from dynmm_core.adapt.stream_state import StreamState, new_state, state_at
from dynmm_core.adapt.tail import Tail, items_known_at, slides
from dynmm_core.adapt.trainers import Learners, new_learners
from dynmm_core.metrics.ranking import METRICS
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.bundle import Choices, CutState
from dynmm_core.model.features import DECAY_STEPS
from dynmm_core.model.online import OnlineSettings

LEARNING_RATES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # thin slides want the greatest, quiet catalogues the smallest
STABILITY_WEIGHT = 1e-3  # no tail told it from 0 or from ten times as much
ALIKE = 0.98  # of the best rate's figure: what the tail does not tell apart
PAIR_SCALE = 8  # times the half-life by which the rule ranks best; no tail told it from 64, and films want more than 1
SETTLED_UPDATES = 400  # a head that has learned less goes over the newest examples again
TRIALS = BASELINE_TRIALS + len(LEARNING_RATES) + 1

_NDCG = METRICS.index("ndcg@10")


@dataclass(frozen=True)
class Tuned:
    """The choices, every trial with its figure on the tail, and the weights of the head that learned there."""

    choices: Choices
    trials: list[dict[str, Any]]
    head: dict[str, Tensor]


class _RememberedBase(FrozenBase):
    """A base whose user states are remembered: trials ask for the same ones in the same order."""

    def __init__(self, base: FrozenBase) -> None:
        self.__dict__.update(base.__dict__)
        self._remembered: list[tuple[Tensor, Tensor]] = []
        self._next = 0

    def rewind(self) -> None:
        self._next = 0

    def user_states(self, recent: np.ndarray, recent_length: np.ndarray) -> tuple[Tensor, Tensor]:
        if self._next == len(self._remembered):
            self._remembered.append(super().user_states(recent, recent_length))
        self._next += 1
        return self._remembered[self._next - 1]


def tune(cut: CutState, tail: Tail, base: FrozenBase, seed: int, advance: Callable[[int], None]) -> Tuned:
    """Choose the baselines' settings, half-lives and learning rate by NDCG@10 on the tail, in ``TRIALS`` trials.

    The last of them has all of it and teaches the head, out of sample for the base: a run starts from its weights.

    Args:
        base: trained on the events before the tail alone; advance: called with every number of finished trials.
    """
    baselines = tune_baselines(cut, tail, advance)
    trials = list(baselines.trials)
    half_life = baselines.settings["decayed_popularity"]["half_life_ms"]
    half_lives = tuple(half_life * step for step in DECAY_STEPS)
    remembered, columns = _RememberedBase(base), cut.context.shape[1]
    first = Choices(
        half_lives_ms=half_lives, adapter_lr=0.0, stability_weight=STABILITY_WEIGHT, baselines=baselines.settings,
        pair_half_life_ms=PAIR_SCALE * baselines.settings["sequential_rule"]["half_life_ms"],
    )  # fmt: skip
    empty = new_state(tail.items, base.backbone.max_length, first, columns, {}, of_click=cut.of_click)
    start = state_at(cut, tail.row, tail.start_ms, empty)

    def attempt(model: str, rate: float) -> tuple[float, Choices, Learners]:
        remembered.rewind()
        choices = first.model_copy(update={"adapter_lr": rate})
        learners = new_learners(remembered, _online(choices), seed, columns)
        value = _ndcg_over_tail(cut, tail, remembered, copy.deepcopy(start), learners, model)
        trials.append({"model": model, "adapter_lr": rate, "ndcg@10": value})
        advance(1)
        return value, choices, learners

    rate = fastest([(attempt("adapted_latents", one)[0], one) for one in LEARNING_RATES])
    _, choices, learners = attempt(HEAD_MODEL, rate)
    learners.head.settle(SETTLED_UPDATES, tail.start_ms)
    return Tuned(choices, trials, dict(learners.head.serving.state_dict()))


def fastest(tried: list[tuple[float, float]]) -> float:
    """Return the greatest rate of (figure, rate) about as good as the best: a calm tail says nothing of the drift to come.

    Only rates between which no other is worse are alike: far beyond the best, where an adapter no longer learns at all, the
    base alone may come close to it again.
    """
    best, chosen = max(tried)
    for rate, value in sorted((rate, value) for value, rate in tried if rate > chosen):
        if value < ALIKE * best:
            break
        chosen = rate
    return chosen


def _online(choices: Choices) -> OnlineSettings:
    return OnlineSettings(learning_rate=choices.adapter_lr, stability_weight=choices.stability_weight)


def _ndcg_over_tail(cut: CutState, tail: Tail, base: FrozenBase, start: StreamState, learners: Learners, model: str) -> float:
    """Run the loop over the tail and return the model's NDCG@10 on its last events."""
    settings = LoopSettings(
        models=(model,), history="event", publish_delay_ms=0, rank_to_ms=None, keep_consumed=False, summaries=True,
        rank_from_ms=int(cut.event_time_ms[max(tail.row, len(cut.event_time_ms) - RANKED_TAIL_EVENTS)]),
        base_users=tail.users, base_items=tail.items, base_newest_ms=int(cut.event_time_ms[tail.row - 1]),
        learn_head=model == HEAD_MODEL,
    )  # fmt: skip
    loop = AdaptLoop(base, learners, start, tail.start_ms, items_known_at(cut, tail.start_ms), settings)
    total, n = 0.0, 0
    for slide in slides(cut, tail.row):
        for row in loop.step(slide).windows:
            if row.stratum == "all":
                total, n = total + row.sums[_NDCG], n + row.n
    return total / max(n, 1)
