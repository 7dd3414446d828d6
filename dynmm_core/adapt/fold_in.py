"""Base latents for items that the frozen base does not know, from what their users did just before."""

import numpy as np
import torch
from torch import Tensor

from dynmm_core.model.base import FrozenBase

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
        self._e_cf, self._z_base = (table.clone() for table in base.item_tables(base.num_items))
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
        vectors = e_cf[torch.from_numpy(before[rows]).to(e_cf.device)].double().sum(1).cpu().numpy()
        means = np.rint(vectors / (before[rows] > 0).sum(1, keepdims=True) * _ONE).astype(np.int64)
        self._grow(int(item_idx.max()) - known)
        at = item_idx[rows] - known - 1
        np.add.at(self._sums, at, means)
        np.add.at(self._events, at, 1)
        self._set(np.unique(at))

    def tables(self, num_items: int) -> tuple[Tensor, Tensor]:
        """Return (e_cf, z_base) of items 0 … num_items, which the next slide changes in place."""
        self._grow(num_items - self.base.num_items)
        return self._e_cf[: num_items + 1], self._z_base[: num_items + 1]

    def _set(self, at: np.ndarray) -> None:
        weight = self._events[at] / (self._events[at] + SHRINK)
        means = self._sums[at] / (_ONE * self._events[at][:, None])
        e_cf = torch.from_numpy((means * weight[:, None]).astype(np.float32)).to(self.base.device)
        centre = self.base.aligner.align_items(torch.from_numpy(means.astype(np.float32)).to(self.base.device))
        rows = torch.from_numpy(at + self.base.num_items + 1).to(self.base.device)
        self._e_cf[rows] = e_cf
        self._z_base[rows] = centre * torch.from_numpy(weight.astype(np.float32)).to(self.base.device)[:, None]

    def _grow(self, fresh: int) -> None:
        have = len(self._events)
        if fresh <= have:
            return
        more = max(fresh, 2 * have) - have
        self._events = np.r_[self._events, np.zeros(more, np.int64)]
        self._sums = np.vstack([self._sums, np.zeros((more, self._sums.shape[1]), np.int64)])
        self._e_cf = torch.cat([self._e_cf, self._e_cf.new_zeros(more, self._e_cf.shape[1])])
        self._z_base = torch.cat([self._z_base, self._z_base.new_zeros(more, self._z_base.shape[1])])
