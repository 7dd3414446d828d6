"""The capacity model: what a load costs and holds, as sums of terms, and how their coefficients are fitted."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.capacity.load import Counts, Load

# As the arrays lie: an id that is remembered, a user, an item that he carries, an event that waits with its item's id.
ID_BYTES, USER_BYTES, ENTRY_BYTES, OPEN_BYTES = 8, 9, 16, 32 + 4 + 7
READ_TERMS = ("json_events", "arrow_events", "batches")
CLOSE_TERMS = ("slides", "items", "events", "pairs", "entries")
MEMORY_TERMS = ("base", "batch_rows", "whole_rows", "items", "pair_bytes", "closing_rows")
Coefficients = dict[str, float]


@dataclass(frozen=True)
class Model:
    """Coefficients by term: CPU seconds of reading and of closing slides, and bytes; a term that does not show has 0.

    ``exchange_seconds``: CPU of an event that is packed for another process and unpacked there.
    """

    read: Coefficients
    close: Coefficients
    memory: Coefficients
    exchange_seconds: float

    def to_json(self) -> dict[str, Any]:
        """The model as a document."""
        return asdict(self)

    def cpu_seconds(self, counts: Counts, form: str) -> float:
        """CPU of events that come in ``form``, from their decoding to the summaries, without the broker's clients."""
        return _sum(self.read, read_terms(counts, form)) + _sum(self.close, close_terms(counts))

    def memory_bytes(self, load: Load, counts: Counts, share: float = 1.0, bucket_share: float = 1.0) -> dict[str, float]:
        """Bytes at the highest of a process that reads ``share`` of the events and keeps ``bucket_share`` of the buckets."""
        terms = memory_terms(load, counts)
        found = {name: self.memory[name] * value for name, value in terms.items()} | known_bytes(load, counts)
        shares = {"base": 1.0, "batch_rows": 1.0, "closing_rows": 1.0, "ids": share}
        parts = {name: value * shares.get(name, bucket_share) for name, value in found.items()}
        return {**parts, "total": sum(parts.values())}


def read_terms(counts: Counts, form: str) -> Coefficients:
    """What reading costs by: events by form, and calls."""
    return {**{name: counts.events if name == f"{form}_events" else 0.0 for name in READ_TERMS}, "batches": counts.batches}


def close_terms(counts: Counts) -> Coefficients:
    """What closing slides costs by."""
    return {name: float(getattr(counts, name)) for name in CLOSE_TERMS}


def memory_terms(load: Load, counts: Counts) -> Coefficients:
    """What is held while a slide closes, beside :func:`known_bytes`; ``closing_rows`` are one bucket's events and entries."""
    late = load.rate * load.lateness_ms / 1_000
    return {
        "base": 1.0, "batch_rows": load.batch_rows, "whole_rows": counts.kept * (1 + late / counts.events),
        "items": counts.items, "pair_bytes": counts.pair_bytes, "closing_rows": (counts.events + counts.entries) / load.buckets,
    }  # fmt: skip


def known_bytes(load: Load, counts: Counts) -> dict[str, float]:
    """Bytes that follow from how arrays lie: ids of two slides and of the lateness, open events, what users carry.

    They are not fitted: beside the others they hardly show in small loads, and decide in large ones.
    """
    late = load.rate * load.lateness_ms / 1_000
    return {
        "ids": ID_BYTES * (2 * counts.events + late), "open_events": OPEN_BYTES * (counts.events + late),
        "users": USER_BYTES * counts.users + ENTRY_BYTES * counts.entries,
    }  # fmt: skip


def fit_terms(names: Sequence[str], rows: Sequence[Coefficients], values: Sequence[float]) -> Coefficients:
    """The coefficients, none below 0, with the least squared relative error.

    Exact for few terms: of all subsets that solve without a negative coefficient, the best one is the solution.

    Args:
        rows: terms of each point. values: what was measured at it, each above 0.

    Raises:
        ValueError: there are fewer points than terms, or a value is not above 0.
    """
    measured = np.asarray(values, np.float64)
    if len(measured) < len(names) or (measured <= 0).any():
        raise ValueError(f"values: {len(measured)} points, all above 0, must be at least as many as the {len(names)} terms")
    relative = np.array([[row[name] for name in names] for row in rows]) / measured[:, None]
    scale = np.abs(relative).max(axis=0)
    scale[scale == 0] = 1
    relative /= scale
    best, least = np.zeros(len(names)), float(len(measured))
    for size in range(1, len(names) + 1):
        for chosen in map(list, combinations(range(len(names)), size)):
            solved = np.linalg.lstsq(relative[:, chosen], np.ones(len(measured)), rcond=None)[0]
            error = float(((relative[:, chosen] @ solved - 1) ** 2).sum())
            if (solved >= 0).all() and error < least:
                best, least = np.zeros(len(names)), error
                best[chosen] = solved
    return dict(zip(names, (best / scale).tolist(), strict=True))


def _sum(coefficients: Coefficients, terms: Coefficients) -> float:
    return sum(coefficients[name] * value for name, value in terms.items())
