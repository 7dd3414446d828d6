"""A slide's events as rows to train a sequence model on: each user's newest items, of which the last ones are new."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynmm_core.evidence.recents import Recents


@dataclass(frozen=True)
class TrainingRows:
    """``items`` (m, max_length + 1), oldest first, 0 behind the end; of each row the last ``targets`` (m,) items are to be
    predicted, each from what stands before it; ``lengths`` (m,) at least 2.
    """

    items: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> "TrainingRows":
        """Those of ``rows``."""
        return TrainingRows(self.items[rows], self.lengths[rows], self.targets[rows])

    def then(self, other: "TrainingRows") -> "TrainingRows":
        """These, and ``other`` behind them."""
        return TrainingRows(
            np.concatenate([self.items, other.items]), np.r_[self.lengths, other.lengths], np.r_[self.targets, other.targets]
        )

    @classmethod
    def none(cls, max_length: int) -> "TrainingRows":
        """No rows."""
        return cls(np.zeros((0, max_length + 1), np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64))

    @classmethod
    def of(cls, user_idx: np.ndarray, item_idx: np.ndarray, before: Recents, max_length: int) -> "TrainingRows":
        """Make rows in which every event (n,) with something ``before`` it is a target once.

        Args:
            before: the newest ``max_length`` items before each event.
        """
        order = np.argsort(user_idx, kind="stable")
        users = user_idx[order]
        first = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.zeros(0, np.int64)
        sizes = np.diff(np.r_[first, len(users)])
        place = np.arange(len(users)) - np.repeat(first, sizes)
        # A row learns half of its length at most, so that a target has as many items before it, where there are that many.
        most = max(1, max_length // 2)
        ends = np.flatnonzero((np.repeat(sizes, sizes) - 1 - place) % most == 0)
        events = order[ends]
        newest = np.c_[item_idx[events], before.items[events, :max_length]]
        items, lengths = oldest_first(newest, np.iinfo(np.int64).max)
        targets = np.minimum(np.minimum(most, place[ends] + 1), lengths - 1)
        keep = targets > 0
        return cls(items[keep].astype(np.int32), lengths[keep], targets[keep])

    def batches(self, tokens: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (inputs, targets), each (B, L) with 0 where there is none, in random order, of like lengths."""
        shuffled = rng.permutation(len(self))
        by_length = shuffled[np.argsort(self.lengths[shuffled], kind="stable")]
        groups, start = [], 0
        while start < len(by_length):
            width = int(self.lengths[by_length[min(start + tokens // int(self.lengths[by_length[start]]), len(self) - 1)]])
            groups.append(by_length[start : start + max(1, tokens // width)])
            start += len(groups[-1])
        for group in rng.permutation(len(groups)):
            rows = groups[group]
            width = int(self.lengths[rows].max())
            place = np.arange(width)
            chunk = np.where(place < self.lengths[rows][:, None], self.items[rows, :width], 0).astype(np.int64)
            inputs = np.where(chunk[:, 1:] > 0, chunk[:, :-1], 0)
            learned = place[1:] >= (self.lengths[rows] - self.targets[rows])[:, None]
            yield torch.from_numpy(inputs), torch.from_numpy(np.where(learned, chunk[:, 1:], 0))


def oldest_first(newest_first: np.ndarray, known: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (items (n, w), oldest first from column 0, 0 behind the end; how many (n,)) of items 1 … ``known``."""
    items = newest_first[:, ::-1]
    keep = (items > 0) & (items <= known)
    order = np.argsort(~keep, axis=1, kind="stable")
    return np.take_along_axis(np.where(keep, items, 0), order, 1), keep.sum(1)
