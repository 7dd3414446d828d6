"""Base latents for items that the frozen base does not know, from what their users did just before."""

import numpy as np
import torch
from torch import Tensor

from dynmm_core.model.base import FrozenBase, with_room
from dynmm_core.model.devices import send

SHRINK = 1.0  # so many events' worth of an average item, which is the zero vector
_ONE = 1 << 20  # sums are fixed-point integers: they depend on no order


class FoldedItems:
    """The base's item vectors, with rows for new items: the mean over their events of the items before each, shrunk.

    An event of a new item speaks by the items that its user had before it, those that the base knows, each with the same
    weight; the mean over n such events is shrunk by n / (n + SHRINK). An item without such an event keeps zero vectors.
    Users need none of this: a user's state is made of the history alone.
    """

    def __init__(self, base: FrozenBase) -> None:
        self.base = base
        self._tables: tuple[Tensor, Tensor] | None = None  # until the first is folded in, those of the base
        self._sums = np.zeros((0, base.hidden_dim), np.int64)
        self._events = np.zeros(0, np.int64)

    @property
    def folded(self) -> int:
        """How many items have a latent from their events alone."""
        return int((self._events > 0).sum())

    def observe(self, item_idx: np.ndarray, before: np.ndarray) -> None:
        """Take in one slide: its events' items (n,), and the items before each (n, r), 0 for none."""
        known = self.base.num_items
        before = np.where(before <= known, before, 0)
        rows = np.flatnonzero((item_idx > known) & before.any(1))
        if not len(rows):
            return
        e_cf, _ = self.base.item_tables(known)
        vectors = e_cf[send(torch.from_numpy(before[rows]), e_cf.device)].double().sum(1).cpu().numpy()
        means = np.rint(vectors / (before[rows] > 0).sum(1, keepdims=True) * _ONE).astype(np.int64)
        self._grow(int(item_idx.max()) - known)
        at = item_idx[rows] - known - 1
        np.add.at(self._sums, at, means)
        np.add.at(self._events, at, 1)
        self._set(np.unique(at))

    def tables(self, num_items: int) -> tuple[Tensor, Tensor]:
        """Return (e_cf, z_base) of items 0 … num_items; later slides write into copies."""
        if self._tables is None:
            return self.base.item_tables(num_items)
        if num_items >= len(self._tables[0]):
            e_cf, z_base = (with_room(table, num_items + 1) for table in self._tables)
            self._tables = e_cf, z_base
        return self._tables[0][: num_items + 1], self._tables[1][: num_items + 1]

    def _set(self, at: np.ndarray) -> None:
        weight = self._events[at] / (self._events[at] + SHRINK)
        means = self._sums[at] / (_ONE * self._events[at][:, None])
        rows = send(torch.from_numpy(at + self.base.num_items + 1), self.base.device)
        own, mean, share = (
            send(torch.from_numpy(one.astype(np.float32)), self.base.device) for one in (means * weight[:, None], means, weight)
        )
        e_cf, z_base = (table.clone() for table in self.tables(self.base.num_items + len(self._events)))
        e_cf[rows] = own
        z_base[rows] = self.base.aligner.align_items(mean) * share[:, None]
        self._tables = e_cf, z_base

    def _grow(self, fresh: int) -> None:
        have = len(self._events)
        if fresh <= have:
            return
        more = max(fresh, 2 * have) - have
        self._events = np.r_[self._events, np.zeros(more, np.int64)]
        self._sums = np.vstack([self._sums, np.zeros((more, self._sums.shape[1]), np.int64)])
