"""Everything that adapt has counted of the stream: facts alone, which the same slides always give again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from dynmm_core.adapt.activity import ActivityCounters
from dynmm_core.adapt.cpu_meter import CpuMeter
from dynmm_core.adapt.histories import Histories
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.baselines.contract import Facts, OnlineModel, Ranker
from dynmm_core.baselines.models import build_model
from dynmm_core.baselines.session_knn import SessionKnn, SessionKnnRanker, SessionKnnSettings
from dynmm_core.evidence.context import KINDS, ContextCounts, by_opening, with_kinds
from dynmm_core.evidence.last_clicks import LastClicks
from dynmm_core.evidence.pair_counts import PairCounts, PairScales
from dynmm_core.evidence.panes import count_panes
from dynmm_core.model.bundle import Choices, CutState
from dynmm_core.times import HOUR_MS

OPENING_DECAY = 1
CONTEXT_DECAY = 2  # clicks in one context are few: they count for longer than clicks anywhere
_BLOCK_EVENTS = 50_000


@dataclass
class StreamState:
    """Histories of the users, counts of items, of pairs and in each context, and the models beside, as of one moment.

    ``following`` counts what follows an item at once, ``openings`` in each context apart what opens a session; ``last_clicks``
    tells what describes a request. The costly models learn as they take slides in, so that the same slides give them again, too.
    ``meter`` is told each model's share of the CPU seconds.
    """

    histories: Histories
    counters: ActivityCounters
    pairs: PairCounts
    following: PairCounts
    context: ContextCounts
    openings: ContextCounts
    last_clicks: LastClicks
    sessions: SessionKnn
    models: dict[str, OnlineModel] = field(default_factory=dict)
    meter: CpuMeter = field(default_factory=CpuMeter)

    def observe(self, slide: SlideEvents) -> None:
        """Take in the next slide."""
        self.counters.observe(slide.panes, slide.item_idx, slide.event_time_ms)
        self._observe(slide.slide_end_ms, slide.user_idx, slide.item_idx, slide.event_time_ms, slide.context)

    def observe_past(self, cut: CutState, row: int, start_ms: int) -> None:
        """Take in the first ``row`` events at once; the first slide begins at ``start_ms``."""
        items, times = cut.item_idx[:row], cut.event_time_ms[:row]
        self.counters.observe(count_panes(cut.user_idx[:row], items, times), items, times)
        for start, stop, end_ms in blocks_of_hours(times, start_ms):
            block = slice(start, stop)
            self._observe(end_ms, cut.user_idx[block], items[block], times[block], cut.context[block])
        for model in self.models.values():
            model.begin(start_ms)

    def frozen_sessions(self, as_of_ms: int, num_items: int) -> SessionKnnRanker:
        """Return what sessions say at ``as_of_ms``."""
        return self.sessions.frozen(as_of_ms, num_items)[0]

    def freeze_models(self, as_of_ms: int, num_items: int) -> dict[str, Ranker]:
        """Return what each model says at ``as_of_ms``."""
        frozen = {}
        for name, model in self.models.items():
            with self.meter.on(name):
                frozen[name] = model.freeze(as_of_ms, num_items)
        return frozen

    def _observe(
        self, end_ms: int, user_idx: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray, context: np.ndarray
    ) -> None:
        events = (user_idx, item_idx, event_time_ms)
        recents = self.histories.recent_items.before(*events, within=True)
        self.pairs.observe(item_idx, event_time_ms, recents, end_ms)
        self.following.observe(item_idx, event_time_ms, recents, end_ms)
        positions, lengths = self.histories.places(*events)
        self.counters.observe_places(*events, positions)
        described = self.last_clicks.before(user_idx, context)
        self.context.observe(with_kinds(described, positions, lengths), item_idx, event_time_ms, end_ms)
        self.openings.observe(by_opening(described, positions), item_idx, event_time_ms, end_ms)
        self.last_clicks.observe(user_idx, context)
        facts = Facts(end_ms, *events, positions, recents)
        self.sessions.observe(facts)
        for name, model in self.models.items():
            with self.meter.on(name):
                model.observe(facts)
        self.histories.observe(*events)


def blocks_of_hours(event_time_ms: np.ndarray, start_ms: int) -> Iterator[tuple[int, int, int]]:
    """Cut events (n,) before the first slide into large blocks of whole hours: yield (start, stop, end of the block in ms).

    The last block ends at ``start_ms`` where its hour would end later, since the first slide goes on from there.
    """
    number = event_time_ms // HOUR_MS
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    block = starts // _BLOCK_EVENTS
    edges = np.r_[starts[np.flatnonzero(np.diff(block, prepend=-1))], len(event_time_ms)]
    for start, stop in pairwise(edges.tolist()):
        yield start, stop, min(int(number[stop - 1] + 1) * HOUR_MS, start_ms)


def new_state(
    base_items: int, max_length: int, choices: Choices, context_columns: int, models: Mapping[str, Mapping[str, int]],
    costly: Mapping[str, OnlineModel] | None = None, of_click: Sequence[int] = (),
) -> StreamState:  # fmt: skip
    """Return a state that has seen nothing.

    Args:
        base_items: items that the base knows are 1 … base_items; max_length: items that a base state may depend on;
        models: the simple models to keep, by name with their settings; costly: further models, built; of_click: places of the
        context's columns that are known only with a click.
    """
    counters = ActivityCounters(choices.half_lives_ms, base_items)
    pairs = PairCounts(PairScales.around(choices.pair_half_life_ms))
    following = PairCounts(PairScales.of_next(choices.half_lives_ms[0]))
    simple: dict[str, OnlineModel] = {name: build_model(name, settings) for name, settings in models.items()}
    context = ContextCounts(context_columns + KINDS, choices.half_lives_ms[CONTEXT_DECAY])
    openings = ContextCounts(context_columns, choices.half_lives_ms[OPENING_DECAY])
    sessions = SessionKnn(SessionKnnSettings(choices.half_lives_ms[0]))
    histories = Histories(base_items, max_length, long_items=max_length if costly else 0)
    every = {**simple, **(costly or {})}
    return StreamState(histories, counters, pairs, following, context, openings, LastClicks(of_click), sessions, every)


def state_at(cut: CutState, row: int, start_ms: int, empty: StreamState) -> StreamState:
    """Return ``empty`` after it has taken in the first ``row`` events; the first slide begins at ``start_ms``."""
    empty.observe_past(cut, row, start_ms)
    return empty
