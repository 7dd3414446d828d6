"""The adapt state machine on top of the store: each slide ends in exactly one version, whatever was killed before."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from dynmm_core.adapt.activity import PaneCounts
from dynmm_core.adapt.catalogue import IdMap
from dynmm_core.adapt.histories import Histories
from dynmm_core.adapt.loop import AdaptLoop, LoopSettings, SlideEvents
from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.adapt.strata import WindowRow
from dynmm_core.adapt.tail import items_known_at
from dynmm_core.adapt.trainers import new_trainer
from dynmm_core.adapt.tuning import state_at
from dynmm_core.errors import UserError
from dynmm_core.model.bundle import Bundle, CutState
from dynmm_core.model.devices import open_device
from dynmm_core.model.trainer import OnlineSettings
from dynmm_core.store.latents import LatentStore
from dynmm_core.store.state import StateFiles
from dynmm_core.store.version import Draft, LatentRows, Version
from dynmm_core.windows.slides import Slide

COMMITS_PER_GC = 50


@dataclass(frozen=True)
class SlideReport:
    """What became of one slide: its version, or the version it already had (``absorbed``)."""

    slide_end_ms: int
    version: int
    content_hash: str
    events: int
    windows: tuple[WindowRow, ...]
    absorbed: bool
    update_rejected: bool


class AdaptEngine:
    """Ranks, learns, refreshes and commits slide by slide, in order; the store's head is the truth of how far it got.

    A slide at or before the head is absorbed: histories and counts advance, nothing is ranked, learned or committed.
    """

    def __init__(self, settings: AdaptSettings, bundle: Bundle) -> None:
        self.settings, self.bundle = settings, bundle
        torch.set_num_threads(settings.threads)
        torch.use_deterministic_algorithms(True)
        cut = bundle.cut_state()
        self._items, self._users = IdMap(cut.item_ids), IdMap(cut.user_ids)
        # The first slide's start is the moment at which the bundle's counters are frozen for it.
        self._start: Callable[[int], AdaptLoop] = partial(_loop_at_cut, settings, bundle, cut)
        self._started: AdaptLoop | None = None
        self._store = LatentStore.create_or_open(settings.run_dir / "store", bundle.shape.latent_dim)
        self._states = StateFiles(settings.run_dir / "store" / "state")
        self._committed = {version.slide_end_ms: version for version in self._store.log()}
        self._head = self._store.head()
        self._needed = self._needed_versions()
        self._dirty_users: set[int] = set()
        self._refreshed: np.ndarray = np.zeros(1, bool)
        if self._head is not None and self._head.config_hash != settings.config_hash:
            raise UserError(
                f"config_hash: {settings.run_dir} holds a run of configuration {self._head.config_hash[:12]},"
                f" not {settings.config_hash[:12]}; name another folder"
            )

    @property
    def _loop(self) -> AdaptLoop:
        assert self._started is not None, "the loop starts with the first slide"
        return self._started

    def on_slide(self, slide: Slide) -> SlideReport:
        """Take in the next complete slide and return its report.

        Raises:
            UserError: the log differs from the one that the store's versions were made from.
        """
        if self._started is None:
            self._started = self._start(slide.slide_start_ms)
        events = self._index(slide)
        self._dirty_users.update(np.unique(events.user_idx).tolist())
        if self._head is not None and slide.slide_end_ms <= self._head.slide_end_ms:
            return self._absorb(events)
        result = self._loop.step(events)
        version = self._commit(events, result.windows, not result.update_accepted)
        return SlideReport(
            slide.slide_end_ms, version.number, version.content_hash, len(events.item_idx), tuple(result.windows),
            absorbed=False, update_rejected=not result.update_accepted,
        )  # fmt: skip

    def _index(self, slide: Slide) -> SlideEvents:
        times = slide.events["event_time_ms"].to_numpy()
        users = self._users.add_in_order(slide.events["user_id"], times)
        items = self._items.add_in_order(slide.events["item_id"], times)
        counts = slide.counts
        panes = PaneCounts(
            counts["pane_start_ms"].to_numpy(), self._items.lookup(counts["item_id"]),
            counts["events"].to_numpy(), counts["users"].to_numpy(),
        )  # fmt: skip
        return SlideEvents(slide.slide_end_ms, users, items, times, panes)

    def _absorb(self, events: SlideEvents) -> SlideReport:
        version = self._committed.get(events.slide_end_ms)
        if version is None or version.lineage["slide_hash"] != _slide_hash(events):
            found = "no version" if version is None else f"version {version.number} of other events"
            raise UserError(
                f"slide_end_ms: the store has {found} for slide {events.slide_end_ms};"
                " the log changed since this run began, so give --out a new folder"
            )
        self._loop.absorb(events)
        self._refreshed = self._loop.activity.active
        if version.number in self._needed:
            self._loop.trainer.from_bytes(self._states.get(version.state))
            self._loop.publish_version()
        if version.rows_kept:
            self._dirty_users.clear()
        return SlideReport(
            events.slide_end_ms, version.number, version.content_hash, len(events.item_idx), (),
            absorbed=True, update_rejected=bool(version.metrics["update_rejected"]),
        )  # fmt: skip

    def _commit(self, events: SlideEvents, windows: list[WindowRow], update_rejected: bool) -> Version:
        """State file first, then the store commit that names it: the commit is the only decision point."""
        number = 0 if self._head is None else self._head.number + 1
        keep = number % self.settings.store_every == 0
        state = self._states.put(self._loop.trainer.to_bytes())
        draft = Draft(
            run=self.settings.run_name, slide_end_ms=events.slide_end_ms, config_hash=self.settings.config_hash,
            base_hash=self.bundle.hash, state=state, rows=self._rows(events, keep), keep_rows=keep,
            metrics={"windows": [row.to_json() for row in windows], "update_rejected": update_rejected},
            lineage={"slide_hash": _slide_hash(events), "events": len(events.item_idx)},
        )  # fmt: skip
        self._head = self._store.commit(draft, self._head)
        self._committed[events.slide_end_ms] = self._head
        if keep:
            self._dirty_users.clear()
        if number % COMMITS_PER_GC == COMMITS_PER_GC - 1:
            needed = self._needed_versions()
            self._states.gc({v.state for v in self._committed.values() if v.number in needed})
        return self._head

    def _rows(self, events: SlideEvents, keep: bool) -> LatentRows:
        """Rows that this slide refreshed: items active now or until now, its users; where rows are kept, all since then."""
        z = self._loop.published[-1].z
        active = self._loop.activity.active
        before = np.zeros(len(active), bool)
        before[: len(self._refreshed)] = self._refreshed
        self._refreshed = active
        items = np.arange(1, len(active)) if keep else np.flatnonzero(active | before)
        users = np.array(sorted(self._dirty_users)) if keep else np.unique(events.user_idx)
        ids = [self._items.ids[i] for i in items] + [self._users.ids[u] for u in users]
        kinds = np.array(["item"] * len(items) + ["user"] * len(users))
        latents = np.concatenate([z[torch.from_numpy(items)].cpu().numpy(), self._loop.user_latents(users)])
        return LatentRows(kinds, np.array(ids), latents)

    def _needed_versions(self) -> set[int]:
        """Versions that some future event may still see: the head, and back over the publish delay."""
        if self._head is None:
            return set()
        since = self._head.slide_end_ms - self.settings.publish_delay_ms
        newest_first = sorted(self._committed.values(), key=lambda version: -version.slide_end_ms)
        older = [version.number for version in newest_first if version.slide_end_ms <= since][:1]
        return {version.number for version in newest_first if version.slide_end_ms > since} | set(older)


def open_engine(settings: AdaptSettings) -> AdaptEngine:
    """Open bundle, store and trainer state of a run; a run that was cut off goes on behind its head.

    Raises:
        UserError: no bundle, a changed bundle, or a store that another configuration wrote.
    """
    return AdaptEngine(settings, Bundle.load(settings.bundle))


def _loop_at_cut(settings: AdaptSettings, bundle: Bundle, cut: CutState, start_ms: int) -> AdaptLoop:
    choices = bundle.choices
    base = bundle.base(open_device(settings.device))
    online = OnlineSettings(
        learning_rate=choices.adapter_lr if settings.adapter_lr is None else settings.adapter_lr,
        stability_weight=choices.stability_weight,
    )
    window = settings.popularity_window_ms or choices.popularity_window_ms
    histories, counters = state_at(cut, len(cut.item_idx), base.num_items, window, choices.half_lives_ms, bundle.shape.max_length)
    loop_settings = LoopSettings(
        settings.models, settings.history, settings.publish_delay_ms, settings.rank_from_ms, settings.rank_to_ms,
        settings.keep_consumed, settings.summaries, base_users=len(cut.user_ids), base_items=len(cut.item_ids),
        base_newest_ms=bundle.newest_event_ms,
    )  # fmt: skip
    trainer = new_trainer(base, online, settings.seed)
    loop = AdaptLoop(base, trainer, histories, counters, start_ms, items_known_at(cut, start_ms), loop_settings)
    if settings.history == "version":
        served = Histories(base.num_items, bundle.shape.max_length)
        served.observe(cut.user_idx, cut.item_idx, cut.event_time_ms)
        loop.serve_only_versions(served)
    return loop


def _slide_hash(events: SlideEvents) -> str:
    digest = hashlib.sha256()
    for column in (events.user_idx, events.item_idx, events.event_time_ms):
        digest.update(np.ascontiguousarray(column, np.int64).tobytes())
    return digest.hexdigest()
