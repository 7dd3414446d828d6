"""The adapt state machine on top of the store: each slide ends in exactly one version, whatever was killed before."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from dynmm_core.adapt.catalogue import IdMap
from dynmm_core.adapt.costly_models import check_costly
from dynmm_core.adapt.drift_detection import DriftDetection
from dynmm_core.adapt.histories import Histories
from dynmm_core.adapt.journal import SlideJournal
from dynmm_core.adapt.loop import AdaptLoop, StepResult
from dynmm_core.adapt.loop_settings import LoopSettings
from dynmm_core.adapt.rows import latent_rows
from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.adapt.strata import WindowRow
from dynmm_core.adapt.stream_state import new_state, state_at
from dynmm_core.adapt.tail import items_known_at
from dynmm_core.adapt.taken import TakenSlides
from dynmm_core.adapt.trainers import new_learners
from dynmm_core.baselines.costly.models import build_costly
from dynmm_core.crash_points import crash_point, seeded_bug
from dynmm_core.errors import UserError
from dynmm_core.evidence.panes import PaneCounts
from dynmm_core.metrics.drift.watch import Alarm
from dynmm_core.model.bundle import Bundle, CutState
from dynmm_core.model.devices import make_repeatable, open_device
from dynmm_core.model.online import OnlineSettings
from dynmm_core.store.latents import LatentStore
from dynmm_core.store.state import StateFiles
from dynmm_core.store.version import Draft, LatentRows, StaleParent, Version
from dynmm_core.windows.slides import Slide

COMMITS_PER_GC = 50


@dataclass(frozen=True)
class SlideReport:
    """What became of one slide: its version, or the version it already had (``absorbed``).

    ``context_known``: by context column the share of the slide's events whose value has a code, 0 to 1. ``drift_signals``: what
    detectors judged, by name; ``drift_alarms``: what they suspect.
    """

    slide_end_ms: int
    version: int
    content_hash: str
    events: int
    windows: tuple[WindowRow, ...]
    absorbed: bool
    update_rejected: bool
    context_known: Mapping[str, float] = field(default_factory=dict)
    drift_signals: Mapping[str, float] = field(default_factory=dict)
    drift_alarms: tuple[Alarm, ...] = ()


class AdaptEngine:
    """Ranks, learns, refreshes and commits slide by slide, in order; the store's head is the truth of how far it got.

    A slide at or before the head is absorbed: histories and counts advance, nothing is ranked, learned or committed. With
    a journal that has happened when the engine is open, and such slides, if they come again, are dropped. Slides that a
    rollback skipped are absorbed, too.
    """

    def __init__(self, settings: AdaptSettings, bundle: Bundle) -> None:
        self.settings, self.bundle = settings, bundle
        costly = check_costly(bundle, settings.models)
        if settings.journal and costly:
            raise UserError(f"models: {', '.join(costly)} learn in replays alone; leave them out of a live run")
        make_repeatable(settings.threads)
        cut = bundle.cut_state()
        self._items, self._users = IdMap(cut.item_ids), IdMap(cut.user_ids)
        # The first slide's start is the moment at which the bundle's counters are frozen for it.
        self._drift = DriftDetection(settings)
        self._start: Callable[[int], AdaptLoop] = partial(_loop_at_cut, settings, bundle, cut, self._drift)
        self._started: AdaptLoop | None = None
        self._store = LatentStore.create_or_open(settings.run_dir / "store", bundle.shape.latent_dim)
        self._states = StateFiles(settings.run_dir / "store" / "state")
        self._taken = TakenSlides(self._store, settings.first_seen_within_ms)
        self._needed = self._taken.seen()
        self._dirty_users: set[int] = set()
        self._refreshed: np.ndarray = np.zeros(1, bool)
        if self.head is not None and self.head.config_hash != settings.config_hash:
            raise UserError(
                f"config_hash: {settings.run_dir} holds a run of configuration {self.head.config_hash[:12]},"
                f" not {settings.config_hash[:12]}; name another folder"
            )
        rollbacks = self._store.rollbacks()
        self.run_name = rollbacks[-1].run if rollbacks else settings.run_name
        self._journal = SlideJournal(settings.run_dir / "journal", tuple(bundle.context.values)) if settings.journal else None
        self._journal_begun = False
        if self._journal is not None:
            self._restore(self._journal)

    @property
    def head(self) -> Version | None:
        """The version that is served, or None before the first."""
        return self._taken.head

    @property
    def through_ms(self) -> int | None:
        """End of the last slide that was taken in, learned from or skipped; learning goes on behind it."""
        return self._taken.through_ms

    @property
    def resume(self) -> dict[str, Any] | None:
        """Where reading must go on behind that slide, as the slide itself said it; None where none did."""
        newest = self._taken.newest
        resume: dict[str, Any] | None = None if newest is None else newest.metrics.get("resume")
        return resume

    @property
    def _loop(self) -> AdaptLoop:
        assert self._started is not None, "the loop starts with the first slide"
        return self._started

    def on_slide(self, slide: Slide) -> SlideReport:
        """Take in the next complete slide and return its report.

        Raises:
            UserError: the log differs from the one that the store's versions were made from, the disk is full, or another
                process writes to the run.
            StaleParent: another process committed to the store.
        """
        # OpenMP keeps this number by thread, and a slide need not come on the one that opened the engine.
        torch.set_num_threads(self.settings.threads)
        known = self.through_ms is not None and slide.slide_end_ms <= self.through_ms
        if known and self._journal is not None:
            again = self._index(slide, known=True)
            return _absorbed(again, self._version_of(again))
        events = self._take(slide)
        if known:
            return self._absorb(events)
        facts = self._drift.facts(events, self._loop.activity)
        result = self._loop.step(events)
        if seeded_bug("skip-commit"):
            return SlideReport(slide.slide_end_ms, self._taken.next_number, "", len(events.item_idx), (), False, False)
        shares = self.bundle.context.known(events.context)
        watched, told = self._drift.judge(facts, result)
        metrics = self._metrics(slide, result, shares) | told
        version = self._commit(slide, events, metrics)
        if seeded_bug("double-commit"):
            end_ms = slide.slide_end_ms + 1
            self._commit(replace(slide, slide_end_ms=end_ms), replace(events, slide_end_ms=end_ms), metrics)
        return SlideReport(
            slide.slide_end_ms, version.number, version.content_hash, len(events.item_idx), tuple(result.windows),
            absorbed=False, update_rejected=not result.update_accepted, context_known=shares,
            drift_signals=watched.signals, drift_alarms=watched.alarms,
        )  # fmt: skip

    def _take(self, slide: Slide) -> SlideEvents:
        """Give the slide's new ids their indices; the first slide starts the loop."""
        if self._started is None:
            self._started = self._start(slide.slide_start_ms)
        events = self._index(slide)
        self._dirty_users.update(np.unique(events.user_idx).tolist())
        return events

    def _index(self, slide: Slide, known: bool = False) -> SlideEvents:
        """Return the slide in indices; ``known``: it was taken in before, so that an unknown id in it is another slide's."""
        times = slide.events["event_time_ms"].to_numpy()
        user_ids, item_ids = slide.events["user_id"], slide.events["item_id"]
        users = self._users.lookup(user_ids) if known else self._users.add_in_order(user_ids, times)
        items = self._items.lookup(item_ids) if known else self._items.add_in_order(item_ids, times)
        counted = self._items.lookup(slide.counts["item_id"])
        # A new item that is counted, but in no sample yet, has no index and no first event: it is not there so far.
        rows = np.flatnonzero(counted)
        columns = [slide.counts[name].to_numpy()[rows] for name in ("pane_start_ms", "events", "users")]
        panes, context = PaneCounts(columns[0], counted[rows], *columns[1:]), self.bundle.context.encode(slide.events)
        return SlideEvents(slide.slide_end_ms, users, items, times, panes, context)

    def _restore(self, journal: SlideJournal) -> None:
        """Absorb the journal's slides up to the head, each of which must be there; others were never committed."""
        expected = iter(self._taken.ends())
        for slide in journal.read(-1 if self.through_ms is None else self.through_ms):
            if self._taken.version(slide.slide_end_ms) is None:
                continue
            if (end_ms := next(expected)) != slide.slide_end_ms:
                raise journal.missing(end_ms)
            self._absorb(self._take(slide))
            crash_point("during-recovery")
        if (end_ms := next(expected, -1)) >= 0:
            raise journal.missing(end_ms)

    def _absorb(self, events: SlideEvents) -> SlideReport:
        version = self._version_of(events)
        self._loop.absorb(events)
        if self._taken.is_skipped(version):
            # Facts alone: no version was made, so that its users and items are still to be refreshed.
            return _absorbed(events, version)
        self._drift.again(version.metrics)
        self._refreshed = self._loop.activity.active
        if version.number in self._needed:
            self._loop.learners.from_bytes(self._states.get(version.state))
            self._loop.publish_version()
        if version.rows_kept:
            self._dirty_users.clear()
        return _absorbed(events, version)

    def _version_of(self, events: SlideEvents) -> Version:
        """Return the version of a slide taken in before; refuse a slide of other events."""
        version = self._taken.version(events.slide_end_ms)
        if version is None or version.lineage["slide_hash"] != _slide_hash(events):
            found = "no version" if version is None else f"version {version.number} of other events"
            raise UserError(
                f"slide_end_ms: the store has {found} for slide {events.slide_end_ms};"
                " the log changed since this run began, so give --out a new folder"
            )
        return version

    def _commit(self, slide: Slide, events: SlideEvents, metrics: dict[str, Any]) -> Version:
        """Journal and state file first, then the store commit that names the state: it is the only decision point."""
        keep = self._taken.next_number % self.settings.store_every == 0
        if self._journal is not None:
            self._write_journal(self._journal, slide)
        crash_point("before-state-file")
        state = self._states.put(self._loop.learners.to_bytes())
        crash_point("after-state-file")
        draft = Draft(
            run=self.run_name, slide_end_ms=events.slide_end_ms, config_hash=self.settings.config_hash,
            base_hash=self.bundle.hash, state=state, rows=self._rows(events, keep), keep_rows=keep,
            metrics=metrics, lineage=_lineage(slide, events),
        )  # fmt: skip
        version = self._store.commit(draft, self.head)
        crash_point("after-store-commit")
        self._taken.add(version)
        if keep:
            self._dirty_users.clear()
        if version.number % COMMITS_PER_GC == COMMITS_PER_GC - 1:
            self._states.gc(self._taken.states_to_keep(self._states, self.settings.rollback_versions))
        return version

    def _write_journal(self, journal: SlideJournal, slide: Slide) -> None:
        if not self._journal_begun:
            journal.lock()
            # Entries behind an old head may be another process's, which has gone on from there.
            if self._store.head() != self.head:
                journal.unlock()
                raise StaleParent(f"parent: another process commits to {self.settings.run_dir}; end one of the two")
            journal.begin(self.through_ms)
            self._journal_begun = True
        journal.append(slide)

    def _metrics(self, slide: Slide, result: StepResult, shares: Mapping[str, float]) -> dict[str, Any]:
        """What travels with a version outside its hash: results, CPU, where reading goes on, the oldest version still seen."""
        metrics: dict[str, Any] = {
            "windows": [row.to_json() for row in result.windows],
            "update_rejected": not result.update_accepted,
            "update_cpu_seconds": _rounded(result.update_cpu_seconds),
            "rank_cpu_seconds": _rounded(result.rank_cpu_seconds),
            "folded_items": self._loop.folded_items.folded,
        }
        if result.candidates_hit is not None:
            metrics["candidates_hit"] = result.candidates_hit
        if shares:
            metrics["context_known"] = dict(shares)
        if slide.resume is not None:
            metrics["resume"] = slide.resume
        if (oldest := self._taken.seen_from(slide.slide_end_ms)) is not None:
            metrics["serves_from"] = oldest
        return metrics

    def _rows(self, events: SlideEvents, keep: bool) -> LatentRows:
        """Rows that this slide refreshed: items active now or until now, its users; where rows are kept, all since then."""
        active = self._loop.activity.active
        before = np.zeros(len(active), bool)
        before[: len(self._refreshed)] = self._refreshed
        self._refreshed = active
        items = np.arange(1, len(active)) if keep else np.flatnonzero(active | before)
        users = np.array(sorted(self._dirty_users)) if keep else np.unique(events.user_idx)
        return latent_rows(self._loop, items, users, self._items.ids, self._users.ids)


def open_engine(settings: AdaptSettings) -> AdaptEngine:
    """Open bundle, store and trainer state of a run; a run that was cut off goes on behind its head.

    Raises:
        UserError: no bundle, a changed bundle, or a store that another configuration wrote.
    """
    return AdaptEngine(settings, Bundle.load(settings.bundle))


def _loop_at_cut(
    settings: AdaptSettings, bundle: Bundle, cut: CutState, drift: DriftDetection, start_ms: int
) -> AdaptLoop:  # fmt: skip
    choices = bundle.choices
    base = bundle.base(open_device(settings.device))
    rate = choices.adapter_lr if settings.adapter_lr is None else settings.adapter_lr
    online = OnlineSettings.of(settings.online, rate, choices.stability_weight)
    models: dict[str, dict[str, int]] = {name: choices.baselines[name] for name in settings.models if name in choices.baselines}
    if settings.popularity_window_ms is not None and "window_popularity" in models:
        models["window_popularity"] = {"window_ms": settings.popularity_window_ms}
    costly = {
        name: build_costly(name, bundle.costly[name], base.backbone, settings.seed)
        for name in check_costly(bundle, settings.models)
    }
    empty = new_state(base.num_items, bundle.shape.max_length, choices, len(bundle.context), models, costly, cut.of_click)
    state = state_at(cut, len(cut.item_idx), start_ms, empty)
    loop_settings = LoopSettings(
        settings.models, settings.history, settings.publish_delay_ms, settings.rank_from_ms, settings.rank_to_ms,
        settings.keep_consumed, settings.summaries, base_users=len(cut.user_ids), base_items=len(cut.item_ids),
        base_newest_ms=bundle.newest_event_ms, fold_in=online.fold_in,
    )  # fmt: skip
    learners = new_learners(base, online, settings.seed, len(bundle.context), bundle.head())
    loop = AdaptLoop(base, learners, state, start_ms, items_known_at(cut, start_ms), loop_settings)
    if settings.history == "version":
        served = Histories(base.num_items, bundle.shape.max_length, bundle.shape.max_length if costly else 0)
        served.observe(cut.user_idx, cut.item_idx, cut.event_time_ms)
        loop.serve_only_versions(served)
    drift.begin(cut, start_ms)
    return loop


def _absorbed(events: SlideEvents, version: Version) -> SlideReport:
    return SlideReport(
        events.slide_end_ms, version.number, version.content_hash, len(events.item_idx), (),
        absorbed=True, update_rejected=bool(version.metrics["update_rejected"]),
    )  # fmt: skip


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(spent, 6) for name, spent in seconds.items()}


def _lineage(slide: Slide, events: SlideEvents) -> dict[str, Any]:
    """Facts about the slide that belong to the version's identity; what says nothing is left out."""
    lineage: dict[str, Any] = {"slide_hash": _slide_hash(events), "events": len(events.item_idx)}
    if slide.idle_cuts:
        lineage["idle_cuts"] = [list(cut) for cut in slide.idle_cuts]
    if slide.counted not in (0, len(events.item_idx)):
        lineage["counted"] = slide.counted
    return lineage


def _slide_hash(events: SlideEvents) -> str:
    digest = hashlib.sha256()
    for column in (events.user_idx, events.item_idx, events.event_time_ms, *events.context.T):
        digest.update(np.ascontiguousarray(column, np.int64).tobytes())
    return digest.hexdigest()
