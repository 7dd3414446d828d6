"""What a slide says about drift, as sums: several slides together say what one of all their events would."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

NDCG, RECALL, OVERLAP, ENTROPY, NEW_ITEMS = "ndcg", "candidate_recall", "item_overlap", "item_entropy", "new_items"
SIGNALS = (NDCG, RECALL, OVERLAP, ENTROPY, NEW_ITEMS)
_SHARES = (RECALL, NEW_ITEMS)


@dataclass(frozen=True)
class Signal:
    """One number about ``n`` events."""

    value: float
    n: int


@dataclass(frozen=True)
class SlideFacts:
    """Sums over the events from ``start_ms`` to before ``end_ms``.

    events: all of them; overlap: sum over events of their item's share in the day before; full_overlap: what that is to be where
    nothing has changed; pairs: ordered pairs of a slide's events, same_pairs those of one item; seen: events of the slide's
    sample, new: those on items younger than a day; ranked: events ranked by the served model, ndcg: sum of their NDCG@10;
    sought: events ranked among candidates, found: those whose target was one.
    """

    start_ms: int
    end_ms: int
    events: int = 0
    overlap: float = 0.0
    full_overlap: float = 0.0
    pairs: int = 0
    same_pairs: int = 0
    seen: int = 0
    new: int = 0
    ranked: int = 0
    ndcg: float = 0.0
    sought: int = 0
    found: int = 0

    @classmethod
    def joined(cls, parts: Sequence["SlideFacts"]) -> Self:
        """The facts of one or more slides in order, as one."""
        sums = [asdict(part) for part in parts]
        added = {name: sum(one[name] for one in sums) for name in sums[0]}
        return cls(**{**added, "start_ms": parts[0].start_ms, "end_ms": parts[-1].end_ms})

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Read what :meth:`to_json` gave."""
        return cls(**document)

    def to_json(self) -> dict[str, Any]:
        """The facts by name; numbers survive JSON bit for bit."""
        return asdict(self)

    def signals(self) -> dict[str, Signal]:
        """Return the signals that the facts tell, by name.

        ``ndcg``, ``candidate_recall``, ``new_items``: means and shares, 0 to 1. ``item_overlap``: slope of the slide's item
        distribution p on that of the day before, q, which is ⟨p, q⟩ / ⟨q, q⟩: 1 where they are the same, 0 where no item is in
        both; without bias, however few the events. ``item_entropy``: of order 2 (Rényi, 1961), -ln of the chance that two
        events are of one item, in nats, without bias in that chance.
        """
        found: dict[str, Signal] = {}
        if self.ranked:
            found[NDCG] = Signal(self.ndcg / self.ranked, self.ranked)
        if self.sought:
            found[RECALL] = Signal(self.found / self.sought, self.sought)
        if self.full_overlap > 0.0:
            found[OVERLAP] = Signal(self.overlap / self.full_overlap, self.events)
        if self.same_pairs:
            found[ENTROPY] = Signal(-math.log(self.same_pairs / self.pairs), self.events)
        if self.seen:
            found[NEW_ITEMS] = Signal(self.new / self.seen, self.seen)
        return found


def item_sums(items: np.ndarray, counts: np.ndarray, day: np.ndarray) -> dict[str, Any]:
    """Return overlap, full_overlap, pairs and same_pairs of a slide, and its events.

    Args:
        items, counts: (m,) item and how many events, an item may stand in several rows;
        day: (num_items + 1,) events of each known item in the day before the slide; 0 is padding.
    """
    own, place = np.unique(items, return_inverse=True)
    totals = np.bincount(place, counts).astype(np.int64)
    events, before = int(totals.sum()), int(day.sum())
    sums: dict[str, Any] = {
        "events": events, "pairs": events * (events - 1), "same_pairs": int((totals * (totals - 1)).sum()),
    }  # fmt: skip
    repeats = int((day * (day - 1)).sum())
    if repeats:
        # ⟨q, q⟩ without bias: the chance that two different events of the day are of one item.
        known = own < len(day)
        sums["overlap"] = int((totals[known] * day[own[known]]).sum()) / before
        sums["full_overlap"] = events * (repeats / (before * (before - 1)))
    return sums


def scaled(signal: str, value: float) -> float:
    """Put a signal on the scale on which it is compared: a share's arcsine, whose noise depends on n alone (Fisher, 1922)."""
    return math.asin(math.sqrt(value)) if signal in _SHARES else value


def unscaled(signal: str, value: float) -> float:
    """The signal's own value again."""
    return math.sin(min(max(value, 0.0), math.pi / 2)) ** 2 if signal in _SHARES else value
