"""Who clicked what lately, as a graph, and light graph convolution over it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

LAYERS = 3


@dataclass(frozen=True)
class ClickGraph:
    """Users and items with an edge for every pair of them that clicked, however often.

    users (u,), items (i,): indices, rising; node k < u is user k, node u + k is item k. edges (e,): pairs
    user node << 32 | item's place, rising. first (u + i,), neighbours (2e,), weights (2e,): the rows of the normalised adjacency.
    """

    users: np.ndarray
    items: np.ndarray
    edges: np.ndarray
    first: Tensor
    neighbours: Tensor
    weights: Tensor

    @classmethod
    def of(cls, user_idx: np.ndarray, item_idx: np.ndarray, most_edges: int) -> "ClickGraph":
        """Make the graph of events (n,) in canonical order; of more than ``most_edges`` pairs the newest ones count."""
        pairs, newest = np.unique((user_idx << 32 | item_idx)[::-1], return_index=True)
        if len(pairs) > most_edges:
            pairs = np.sort(pairs[np.argsort(newest, kind="stable")[:most_edges]])
        users, user = np.unique(pairs >> 32, return_inverse=True)
        items, item = np.unique(pairs & 0xFFFFFFFF, return_inverse=True)
        degree = np.r_[np.bincount(user, minlength=len(users)), np.bincount(item, minlength=len(items))]
        weight = 1.0 / np.sqrt(degree[user] * degree[len(users) + item].astype(np.float64))
        by_item = np.argsort(item, kind="stable")
        return cls(
            users, items, user << 32 | item,
            torch.from_numpy(np.cumsum(degree) - degree),
            torch.from_numpy(np.r_[len(users) + item, user[by_item]]),
            torch.from_numpy(np.r_[weight, weight[by_item]].astype(np.float32)),
        )  # fmt: skip

    @property
    def nodes(self) -> int:
        """How many users and items there are."""
        return len(self.users) + len(self.items)

    @torch.no_grad()
    def propagated(self, start: Tensor) -> Tensor:
        """Return the mean over 0 … LAYERS of A^k · ``start`` (nodes, d), A the adjacency divided by the roots of both degrees.

        A is symmetric, so that this is also what takes a gradient back. Source: He et al., 2020.
        """
        layer, total = start, start.clone()
        for _ in range(LAYERS):
            layer = F.embedding_bag(self.neighbours, layer, self.first, mode="sum", per_sample_weights=self.weights)
            total += layer
        return total / (LAYERS + 1)

    def has_edge(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Return which user nodes (n,) have an edge to the items at places (n,)."""
        wanted = user << 32 | item
        at = np.minimum(np.searchsorted(self.edges, wanted), len(self.edges) - 1)
        return np.asarray(self.edges[at] == wanted)
