"""Ranks one slide: every model of a run, over requests that may see different versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dynmm_core.adapt.cpu_meter import CpuMeter
from dynmm_core.adapt.histories import HistoryView
from dynmm_core.adapt.loop_settings import DAY_OLD_MODEL, HEAD_MODEL, LoopSettings
from dynmm_core.adapt.published import Published
from dynmm_core.adapt.scoring import Ranked
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.adapt.strata import WindowRow, window_rows
from dynmm_core.baselines.contract import Requests
from dynmm_core.evidence.context import with_kinds
from dynmm_core.metrics.ranking import expected_metrics
from dynmm_core.model.head import request_state
from dynmm_core.model.ranking import rank_targets
from dynmm_core.randomness import derive_seed

HEAD_EXAMPLES = 1_024  # of a slide at most
Consumed = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class RequestRun:
    """A slide's events ``start`` … ``stop`` - 1, which see the same version, with their user side.

    context (n, columns): the codes of the log's columns that describe the requests.
    """

    slide: SlideEvents
    start: int
    stop: int
    published: Published
    view: HistoryView
    r_u: Tensor
    h_base: Tensor
    s_user: Tensor
    context: np.ndarray

    @property
    def rows(self) -> slice:
        """Where the run lies in the slide."""
        return slice(self.start, self.stop)

    def consumed(self, keep: bool) -> Consumed:
        """Pairs (row, item that is no candidate there); none if they are to ``keep`` being candidates."""
        empty = np.zeros(0, np.int64)
        return (empty, empty) if keep else (self.view.consumed_rows, self.view.consumed_items)

    def asked(self, keep_consumed: bool) -> Requests:
        """The run as requests."""
        slide, cut, view = self.slide, self.rows, self.view
        return Requests(
            slide.user_idx[cut], slide.item_idx[cut], slide.event_time_ms[cut], view.recents, view.session_position,
            view.length, *self.consumed(keep_consumed), view.long_recents,
        )  # fmt: skip

    def part(self, start: int, stop: int, published: Published) -> "RequestRun":
        """The run's requests ``start`` … ``stop`` - 1, which see ``published``; they know what they knew."""
        cut, first = slice(start, stop), self.start
        of_users = (self.r_u[cut], self.h_base[cut], self.s_user[cut])
        return RequestRun(
            self.slide, first + start, first + stop, published, self.view.rows(start, stop), *of_users, self.context[cut]
        )

    @torch.no_grad()
    def latents(self) -> Tensor:
        """h (n, latent_dim) of the requests, by the version's adapter."""
        h: Tensor = self.published.adapter.user(self.h_base, self.r_u, self.s_user)
        return h


class SlideRanking:
    """Ranks a slide's ``runs`` once with each model that the settings name; nothing here changes any state.

    Args:
        head_seed: names, with the slide, which requests become examples for the head;
        meter: is told what each model's ranking takes;
        day_old: the same events with versions of the day before, for the model that ranks with those; nobody learns from them.
    """

    def __init__(
        self, settings: LoopSettings, slide: SlideEvents, runs: list[RequestRun], head_seed: int, meter: CpuMeter,
        day_old: Sequence[RequestRun] = (),
    ) -> None:  # fmt: skip
        self.settings, self.slide, self.runs, self._head_seed = settings, slide, runs, head_seed
        self._meter, self._day_old = meter, day_old
        times, low, high = slide.event_time_ms, settings.rank_from_ms, settings.rank_to_ms
        self._first = 0 if low is None else int(np.searchsorted(times, low))
        self._last = len(times) if high is None else int(np.searchsorted(times, high))

    @property
    def any(self) -> bool:
        """Whether an event of the slide is to be ranked."""
        return self._first < self._last

    @cached_property
    def by_head(self) -> list[Ranked]:
        """Each run as the head that it sees ranks it, with examples of some requests; none where nobody needs them."""
        every = HEAD_MODEL in self.settings.models and self.any
        if not every and not self.settings.learn_head:
            return []
        random = np.random.Generator(np.random.Philox(derive_seed(self._head_seed, self.slide.slide_end_ms, "head-examples")))
        chosen = np.zeros(len(self.slide.item_idx), bool)
        chosen[random.permutation(len(chosen))[:HEAD_EXAMPLES]] = True
        return [self._ranked(run, chosen, random, every=every) for run in self.runs]

    def _ranked(self, run: RequestRun, chosen: np.ndarray, random: np.random.Generator, *, every: bool) -> Ranked:
        """One run as its version's head ranks it; ``chosen`` (n,) over the slide are to become examples."""
        asked = run.asked(self.settings.keep_consumed)
        context = with_kinds(run.context, asked.session_position, asked.history_length)
        state = request_state(run.s_user, asked.event_time_ms - run.published.activity.as_of_ms)
        return run.published.score.rank(asked, context, run.latents(), state, chosen[run.rows], random, every=every)

    @property
    def candidates_hit(self) -> int | None:
        """How many ranked targets the head had among its candidates; None where it ranked nothing."""
        if HEAD_MODEL not in self.settings.models or not self.any:
            return None
        return int((np.concatenate([one.better for one in self.by_head])[self._first : self._last] >= 0).sum())

    def windows(self, strata: dict[str, np.ndarray]) -> list[WindowRow]:
        """Return the metrics of every model by evaluation window and stratum; ``strata``: masks (n,) over the slide."""
        rows: list[WindowRow] = []
        ranked = slice(self._first, self._last)
        masks = {name: mask[ranked] for name, mask in strata.items()}
        for model in self.settings.models:
            with self._meter.on(model):
                if model == DAY_OLD_MODEL:
                    parts = [self._day_old_metrics(run) for run in self._day_old]
                else:
                    parts = [self._metrics(model, place) for place in range(len(self.runs))]
            metrics, staleness = (np.concatenate(column)[ranked] for column in zip(*parts, strict=True))
            rows += window_rows(model, self.slide.event_time_ms[ranked], metrics, masks, staleness)
        return rows

    def _metrics(self, model: str, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (metrics (n, 6), staleness_ms (n,)) of one model over one run."""
        run = self.runs[place]
        published, consumed = run.published, run.consumed(self.settings.keep_consumed)
        targets, times = self.slide.item_idx[run.rows], self.slide.event_time_ms[run.rows]
        newest_ms = published.newest_event_ms
        if model == "static":
            ranks, newest_ms = rank_targets(run.h_base, published.z_base, targets, *consumed), self.settings.base_newest_ms
        elif model == HEAD_MODEL:
            ranks = self.by_head[place].better, self.by_head[place].ties
        elif model in published.rankers:
            ranks = published.rankers[model].rank(run.asked(self.settings.keep_consumed))
        else:
            ranks = rank_targets(run.latents(), published.z.whole, targets, *consumed)
        return expected_metrics(*ranks), times - newest_ms

    def _day_old_metrics(self, run: RequestRun) -> tuple[np.ndarray, np.ndarray]:
        """Return (metrics (n, 6), staleness_ms (n,)) of a run that sees a version of the day before."""
        nobody = np.zeros(len(self.slide.item_idx), bool)
        ranked = self._ranked(run, nobody, np.random.Generator(np.random.Philox(0)), every=True)
        return expected_metrics(ranked.better, ranked.ties), self.slide.event_time_ms[run.rows] - run.published.newest_event_ms
