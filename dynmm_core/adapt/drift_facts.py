"""A slide's facts about drift, as adapt knows them: before it is learned from, and once it was ranked."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from dynmm_core.adapt.activity import FrozenActivity
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.adapt.strata import WindowRow
from dynmm_core.adapt.tail import slides
from dynmm_core.metrics.drift.baseline import MEMORY_DAYS
from dynmm_core.metrics.drift.facts import SlideFacts, item_sums
from dynmm_core.metrics.ranking import METRICS
from dynmm_core.model.bundle import CutState
from dynmm_core.model.features import HORIZONS_MS
from dynmm_core.times import DAY_MS
from dynmm_core.windows.horizons import HorizonCounts

_DAY = HORIZONS_MS.index(DAY_MS)
_NDCG = METRICS.index("ndcg@10")


def slide_facts(slide: SlideEvents, activity: FrozenActivity, slide_ms: int) -> SlideFacts:
    """Return what a slide's events say beside those of the day before; ``activity`` is of the end of the slide before."""
    first_ms = activity.counts.first_event_ms
    return _facts(slide, activity.counts.horizons[_DAY], first_ms, slide.slide_end_ms - slide_ms)


def with_ranking(facts: SlideFacts, windows: Iterable[WindowRow], served: str, candidates_hit: int | None) -> SlideFacts:
    """Return the facts with how well the ``served`` model ranked the slide."""
    rows = [row for row in windows if (row.model, row.stratum) == (served, "all")]
    ranked = sum(row.n for row in rows)
    found = {} if candidates_hit is None else {"sought": ranked, "found": candidates_hit}
    return replace(facts, ranked=ranked, ndcg=sum(row.sums[_NDCG] for row in rows), **found)


def past_facts(cut: CutState, start_ms: int, slide_ms: int) -> Iterator[SlideFacts]:
    """Yield the facts of the week of slides before ``start_ms``, where the stream goes on; nobody ranked those."""
    return facts_of_log(cut, start_ms - MEMORY_DAYS * DAY_MS, start_ms, slide_ms)


def facts_of_log(cut: CutState, start_ms: int, end_ms: int, slide_ms: int) -> Iterator[SlideFacts]:
    """Yield the facts of the whole slides from ``start_ms`` to ``end_ms`` with an event; what lies before is their past."""
    times = cut.event_time_ms
    first_row, end_row = np.searchsorted(times, [start_ms - DAY_MS, end_ms]).tolist()
    items = cut.item_idx[:end_row]
    first_ms = np.full(int(items.max(initial=0)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first_ms, items, times[:end_row])
    day = HorizonCounts((DAY_MS,))
    for slide in slides(cut, first_row, slide_ms):
        from_ms = slide.slide_end_ms - slide_ms
        if slide.slide_end_ms > end_ms:
            return
        if from_ms >= start_ms:
            day.advance(from_ms)
            yield _facts(slide, day.sums(len(first_ms) - 1)[0], first_ms, from_ms)
        day.observe(slide.panes.pane_start_ms, slide.panes.item_idx, slide.panes.events)


def _facts(slide: SlideEvents, day: np.ndarray, first_ms: np.ndarray, start_ms: int) -> SlideFacts:
    """``first_ms`` (num_items + 1,): first event of each item known by then; an item without one is new."""
    known = slide.item_idx < len(first_ms)
    old = first_ms[np.where(known, slide.item_idx, 0)] < start_ms - DAY_MS
    return SlideFacts(
        start_ms, slide.slide_end_ms, seen=len(old), new=int((~(known & old)).sum()),
        **item_sums(slide.panes.item_idx, slide.panes.events, day),
    )  # fmt: skip
