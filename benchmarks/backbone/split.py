"""Leave-one-out: the last event of each user is for the test, the last but one for validation, the rest for training."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.model.pretraining import Sequences

MIN_EVENTS = 3
BACK = {"test": 1, "validation": 2}


@dataclass(frozen=True)
class Requests:
    """What is asked of a model: rank all items but the consumed ones for each of n users.

    users (n,) their row in the split; histories (n, max_length) most recent items, oldest first from column 0, 0 behind
    the end; lengths (n,) columns filled; targets (n,) the item that came next, not consumed before; consumed_rows,
    consumed_items (m,) pairs (request, item of the whole history), without repeats.
    """

    users: np.ndarray
    histories: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray
    consumed_rows: np.ndarray
    consumed_items: np.ndarray


@dataclass(frozen=True)
class Split:
    """Every user's events in the log's order, in indices from 1: ``items[starts[k]:starts[k + 1]]`` are those of user k.

    A user of fewer than three events is for training alone.
    """

    items: np.ndarray
    starts: np.ndarray
    num_items: int

    @classmethod
    def of_log(cls, log: PreparedLog) -> "Split":
        """Split a prepared log; events of one time keep the log's order."""
        table = log.read(["user_id", "item_id"])
        _, users = np.unique(table["user_id"].to_numpy(), return_inverse=True)
        names, items = np.unique(table["item_id"].to_numpy(), return_inverse=True)
        sequences = Sequences.from_events(users, items + 1)
        return cls(sequences.items, sequences.starts, len(names))

    @property
    def train_ends(self) -> np.ndarray:
        """Where each user's training events end (users,), exclusive."""
        counts = np.diff(self.starts)
        return self.starts[1:] - np.where(counts >= MIN_EVENTS, 2, 0)

    def train(self) -> Sequences:
        """The training events."""
        at, _ = _positions(self.starts[:-1], self.train_ends)
        return Sequences(self.items[at], np.r_[0, np.cumsum(self.train_ends - self.starts[:-1])])

    def requests(self, part: str, max_length: int) -> Requests:
        """The requests of ``part``: "validation", or "test", whose histories hold the validation event, too.

        A target that its user had consumed before could not be ranked, and is left out.
        """
        users = np.flatnonzero(np.diff(self.starts) >= MIN_EVENTS)
        stops = self.starts[users + 1] - BACK[part]
        at, rows = _positions(self.starts[users], stops)
        repeated = np.bincount(rows[self.items[at] == self.items[stops[rows]]], minlength=len(users)) > 0
        users, stops = users[~repeated], stops[~repeated]
        at, rows = _positions(self.starts[users], stops)
        consumed = np.unique(np.stack([rows, self.items[at]]), axis=1)
        lengths = np.minimum(stops - self.starts[users], max_length)
        columns = np.arange(max_length)
        inside = columns < lengths[:, None]
        recent = self.items[np.where(inside, (stops - lengths)[:, None] + columns, 0)]
        return Requests(users, np.where(inside, recent, 0), lengths, self.items[stops], consumed[0], consumed[1])


def _positions(starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every position of the half-open ranges [start, stop), and the row of its range."""
    sizes = stops - starts
    rows = np.repeat(np.arange(len(starts)), sizes)
    return np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(starts, sizes), rows
