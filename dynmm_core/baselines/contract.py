"""What a model of the runner must do: take in slides, freeze, rank. Ranking changes nothing."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dynmm_core.evidence.recents import Recents


@dataclass(frozen=True)
class Requests:
    """Events to be ranked, in canonical order, with what may be known before each.

    user_idx, targets, event_time_ms (n,): whose event, which item it was, when; a target above the ranker's items is a miss.
    recents: the newest items before each; session_position (n,) events of the running session before it; history_length (n,).
    consumed_rows, consumed_items (m,): pairs (row, item that is no candidate there), without repeats; the target stays one.
    long_recents: as recents, as many as a sequence model looks back, where there is such a model.
    """

    user_idx: np.ndarray
    targets: np.ndarray
    event_time_ms: np.ndarray
    recents: Recents
    session_position: np.ndarray
    history_length: np.ndarray
    consumed_rows: np.ndarray
    consumed_items: np.ndarray
    long_recents: Recents | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: np.ndarray) -> "Requests":
        """Those at the distinct positions ``rows``, in their order."""
        place = np.full(len(self), -1)
        place[rows] = np.arange(len(rows))
        at = place[self.consumed_rows]
        keep = at >= 0
        return Requests(
            self.user_idx[rows], self.targets[rows], self.event_time_ms[rows],
            self.recents.take(rows),
            self.session_position[rows], self.history_length[rows], at[keep], self.consumed_items[keep],
            None if self.long_recents is None else self.long_recents.take(rows),
        )  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """One slide's events (n,) in canonical order with the items before each, as a model may learn from them."""

    slide_end_ms: int
    user_idx: np.ndarray
    item_idx: np.ndarray
    event_time_ms: np.ndarray
    session_position: np.ndarray
    recents: Recents


class Ranker(Protocol):
    """A frozen model: ranks requests against items 1 … num_items."""

    def rank(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) (n,) int64 of each target among all candidates; better = -1 is a miss."""
        ...


class OnlineModel(Protocol):
    """A model that follows the stream; what it learned depends on the slides it took in and on nothing else."""

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide; slides come in order."""
        ...

    def begin(self, as_of_ms: int) -> None:
        """Be told that the slides so far were the past, and that the stream begins at ``as_of_ms``."""
        return

    def freeze(self, as_of_ms: int, num_items: int) -> Ranker:
        """Return what the model says at ``as_of_ms``, the end of the last slide; later slides do not change it."""
        ...


class TriedModel(OnlineModel, Protocol):
    """A model that tries several settings over one count of the stream; as an :class:`OnlineModel` it is the first of them."""

    def freeze_each(self, as_of_ms: int, num_items: int) -> list[Ranker]:
        """Return one ranker per setting."""
        ...

    def freeze(self, as_of_ms: int, num_items: int) -> Ranker:
        """Return the ranker of the first setting."""
        return self.freeze_each(as_of_ms, num_items)[0]
