"""The loop that replay, live flow and tuning share: rank a slide, learn from it, refresh, publish."""

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dynmm_core.adapt.activity import FrozenActivity
from dynmm_core.adapt.cpu_meter import ADAPTER, REFRESH, STATES, by_model, ranking_by_model
from dynmm_core.adapt.day_old import AgedVersions
from dynmm_core.adapt.fold_in import FoldedItems
from dynmm_core.adapt.histories import Histories, HistoryView
from dynmm_core.adapt.laps import Lap, no_lap
from dynmm_core.adapt.loop_settings import DAY_OLD_MODEL, HEAD_MODEL, LoopSettings
from dynmm_core.adapt.published import Published, publish
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.adapt.slide_ranking import RequestRun, SlideRanking
from dynmm_core.adapt.strata import WindowRow, masks
from dynmm_core.adapt.stream_state import StreamState
from dynmm_core.adapt.trainers import Learners
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.devices import send
from dynmm_core.model.examples import Examples
from dynmm_core.model.features import user_summary
from dynmm_core.model.head_trainer import HeadExamples
from dynmm_core.model.losses import NegativeSampler
from dynmm_core.model.patched import PatchedRows


@dataclass(frozen=True)
class StepResult:
    """What one slide gave: result rows, whether the updates were accepted, how many ranked targets the head had as candidates.

    candidates_hit: None where the head ranked nothing; update_cpu_seconds, rank_cpu_seconds: what each model's update
    and its ranking took, by its name; of the machine, in no result.
    """

    windows: list[WindowRow]
    update_accepted: bool
    candidates_hit: int | None = None
    update_cpu_seconds: dict[str, float] = field(default_factory=dict)
    rank_cpu_seconds: dict[str, float] = field(default_factory=dict)


class AdaptLoop:
    """Rank → learn → refresh, slide by slide; knows nothing of files, stores or flows.

    Args:
        base: frozen; learners: what learns; state: what was counted up to the cut;
        start_ms: start of the first slide; num_items: items known by then; settings: see LoopSettings.
    """

    def __init__(
        self, base: FrozenBase, learners: Learners, state: StreamState, start_ms: int, num_items: int, settings: LoopSettings,
    ) -> None:  # fmt: skip
        self.base, self.learners, self.settings = base, learners, settings
        self.state = state
        self.num_items = num_items
        self.newest_event_ms = settings.base_newest_ms
        self.folded_items = FoldedItems(base)
        self.activity = self._freeze(start_ms)
        self.lap: Lap = no_lap
        # The bundle is served from the start, whatever the publish delay.
        self.published = deque([self._publish(available_at_ms=None)])
        self._aged = AgedVersions(self.published[0]) if DAY_OLD_MODEL in settings.models else None
        self._unserved: deque[tuple[int, SlideEvents]] = deque()
        self._served: Histories | None = None

    def serve_only_versions(self, served: Histories) -> None:
        """Use ``served``, a copy of the histories at the cut, as all that requests may know (version history)."""
        self._served = served

    def step(self, slide: SlideEvents) -> StepResult:
        """Rank the slide's events with the versions published before them, learn from them, publish the next."""
        meter, models = self.state.meter, self.settings.models
        meter.take()
        requests = self._requests(slide)
        day_old = [] if self._aged is None else [part for run in requests for part in self._aged.runs(run)]
        ranking = SlideRanking(self.settings, slide, requests, self.learners.head.seed, meter, day_old)
        with meter.on(HEAD_MODEL):
            examples = HeadExamples.joined([one.examples for one in ranking.by_head]) if self.settings.learn_head else None
        windows = ranking.windows(self._strata(slide)) if ranking.any else []
        self.lap("ranking")
        ranked = ranking_by_model(meter.take(), models)
        with meter.on(ADAPTER):
            of_adapter = self._examples(slide, requests)
        accepted = self.learners.learn(of_adapter, examples, slide.slide_end_ms, meter)
        self.lap("update")
        with meter.on(REFRESH):
            self.absorb(slide)
            self.lap("features")
            self.publish_version()
        self.lap("refresh")
        return StepResult(windows, accepted, ranking.candidates_hit, by_model(meter.take(), models), ranked)

    def absorb(self, slide: SlideEvents) -> None:
        """Take the slide's facts in: histories, counts, the moment. Neither ranks nor learns."""
        if self.settings.fold_in and (slide.item_idx > self.base.num_items).any():
            events = (slide.user_idx, slide.item_idx, slide.event_time_ms)
            self.folded_items.observe(slide.item_idx, self.state.histories.recent_items.before(*events, within=True).items)
        self.state.observe(slide)
        self.num_items = max(self.num_items, self.settings.base_items, int(slide.item_idx.max(initial=0)))
        self.newest_event_ms = max(self.newest_event_ms, int(slide.event_time_ms.max(initial=0)))
        self.activity = self._freeze(slide.slide_end_ms)
        if self.settings.history == "version":
            self._unserved.append((slide.slide_end_ms + self.settings.publish_delay_ms, slide))

    def publish_version(self) -> Published:
        """Publish a version of the state as it stands."""
        self.published.append(self._publish(self.activity.as_of_ms + self.settings.publish_delay_ms))
        if self._aged is not None:
            self._aged.add(self.published[-1])
        return self.published[-1]

    @torch.no_grad()
    def user_latents(self, user_idx: np.ndarray) -> np.ndarray:
        """Return h (n, latent_dim) float32 of distinct users, as of the last slide's end, with the serving weights."""
        view = self.state.histories.users_at(user_idx, self.activity.as_of_ms)
        r_u, h_base = self.base.user_states(view.recent, view.recent_length)
        s_user = self._user_summary(view)
        h: Tensor = self.learners.adapter.serving.user(h_base, r_u, s_user)
        return np.asarray(h.cpu().numpy())

    def _freeze(self, as_of_ms: int) -> FrozenActivity:
        return self.state.counters.freeze(as_of_ms, self.num_items, summaries=self.settings.summaries)

    def _publish(self, available_at_ms: int | None) -> Published:
        delay = -self.activity.as_of_ms if available_at_ms is None else available_at_ms - self.activity.as_of_ms
        items = self.folded_items.tables(self.num_items)
        return publish(self.base, items, self.learners, self.activity, self.state, self.newest_event_ms, delay, self.lap)

    def _requests(self, slide: SlideEvents) -> list[RequestRun]:
        """Split the slide where a newer version becomes visible, and look up what each part may know."""
        times = slide.event_time_ms
        whole = None
        if self._served is None:
            whole = self.state.histories.view(slide.user_idx, slide.item_idx, times, within=True)
        context = self.state.last_clicks.before(slide.user_idx, slide.context, within=whole is not None)
        edges = sorted({0, *(int(np.searchsorted(times, p.available_at_ms)) for p in self.published), len(times)})
        requests = []
        for start, stop in pairwise(edges):
            while len(self.published) > 1 and self.published[1].available_at_ms <= times[start]:
                self.published.popleft()
            view = whole.rows(start, stop) if whole is not None else self._served_view(slide, start, stop)
            self.lap("features")
            with self.state.meter.on(STATES):
                r_u, h_base = self.base.user_states(view.recent, view.recent_length)
            self.lap("user states")
            of_users = (r_u, h_base, self._user_summary(view))
            requests.append(RequestRun(slide, start, stop, self.published[0], view, *of_users, context[start:stop]))
        return requests

    def _served_view(self, slide: SlideEvents, start: int, stop: int) -> HistoryView:
        assert self._served is not None
        while self._unserved and self._unserved[0][0] <= slide.event_time_ms[start]:
            _, past = self._unserved.popleft()
            self._served.observe(past.user_idx, past.item_idx, past.event_time_ms)
        cut = slice(start, stop)
        return self._served.view(slide.user_idx[cut], slide.item_idx[cut], slide.event_time_ms[cut], within=False)

    def _user_summary(self, view: HistoryView) -> Tensor:
        summary = user_summary(view.length, view.gap_ms, view.session_position)
        if not self.settings.summaries:
            summary = np.zeros_like(summary)
        return self._sent(summary)

    def _sent(self, array: np.ndarray) -> Tensor:
        return send(torch.from_numpy(array), self.base.device)

    def _strata(self, slide: SlideEvents) -> dict[str, np.ndarray]:
        live = self.state.histories.view(slide.user_idx, slide.item_idx, slide.event_time_ms, within=True)
        known = np.where(slide.item_idx <= self.num_items, slide.item_idx, 0)
        new_item, new_user = slide.item_idx > self.settings.base_items, slide.user_idx > self.settings.base_users
        return masks(self.activity.events[known], live.length, new_item, new_user, live.session_position)

    def _summaries(self) -> PatchedRows:
        """s_new of every item known at the end of the slide before, zero where not active."""
        rows, values = (self._sent(one) for one in (self.activity.rows, self.activity.summaries))
        return PatchedRows(self.num_items + 1, rows, values)

    def _examples(self, slide: SlideEvents, requests: list[RequestRun]) -> Examples:
        """Pair each event of a known item with the features frozen at the end of the slide before."""
        known = slide.item_idx <= self.num_items
        keep = self._sent(np.flatnonzero(known))
        e_cf, z_base = self.folded_items.tables(self.num_items)
        return Examples(
            h_base=torch.cat([r.h_base for r in requests])[keep],
            r_u=torch.cat([r.r_u for r in requests])[keep],
            s_user=torch.cat([r.s_user for r in requests])[keep],
            z_base=z_base,
            e_cf=e_cf,
            s_item=self._summaries(),
            active=self._sent(self.activity.active),
            positives=torch.from_numpy(slide.item_idx[known]),
            negatives=NegativeSampler.of_counts(self.activity.recent),
            e_txt=self.base.item_text(self.num_items),
        )
