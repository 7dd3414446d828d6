"""LightGCN: vectors of users and items that agree along the clicks of the last days, smoothed over their graph."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynmm_core.baselines.contract import Facts, Ranker, Requests, TriedModel
from dynmm_core.baselines.costly.event_window import Daily, EventWindow
from dynmm_core.baselines.costly.graph import ClickGraph
from dynmm_core.baselines.decayed_popularity import FadingClicks
from dynmm_core.model.losses import bpr_loss
from dynmm_core.model.ranking import rank_targets
from dynmm_core.randomness import derive_seed, torch_generator
from dynmm_core.times import DAY_MS

FIRST_STEPS, DAILY_STEPS = 400, 60
EDGES_PER_STEP = 4_096
MOST_EDGES = 300_000
START_DEVIATION = 0.1
L2_WEIGHT = 1e-4
_NO_EDGE = -1e4


@dataclass(frozen=True)
class LightGcnSettings:
    """days: whose clicks are edges; learning_rate: of Adam; half_life_ms: of the popularity for users without a history."""

    days: int
    learning_rate: float
    half_life_ms: int


@dataclass(frozen=True)
class LightGcnRanker:
    """Smoothed vectors, frozen. A user without an edge is the mean of the newest items that have one, else popularity ranks.

    users (u,): indices, rising, of ``user_vectors`` (u, d); items (num_items + 1, d + 2): vectors, then -1e4 where an item has no
    edge, which puts it below all that have one, then decayed popularity.
    """

    users: np.ndarray
    user_vectors: Tensor
    items: Tensor

    def rank(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) (n,) of each target; see :class:`Ranker`."""
        n, width = len(requests), self.items.shape[1] - 2
        asked = torch.zeros(n, width + 2)
        at = np.minimum(np.searchsorted(self.users, requests.user_idx), max(len(self.users) - 1, 0))
        known = self.users[at] == requests.user_idx if len(self.users) else np.zeros(n, bool)
        newest = requests.recents.items
        recent = torch.from_numpy(np.where(newest < len(self.items), newest, 0))
        linked = (self.items[recent, width] == 0) & (recent > 0)
        count = linked.sum(1)
        mean = (self.items[recent, :width] * linked[:, :, None]).sum(1) / count.clamp(min=1)[:, None]
        mine = torch.from_numpy(known)
        asked[:, :width] = mean
        asked[mine, :width] = self.user_vectors[torch.from_numpy(at[known])]
        said = mine | (count > 0)
        asked[:, width] = said.float()
        asked[:, width + 1] = (~said).float()
        return rank_targets(asked, self.items, requests.targets, requests.consumed_rows, requests.consumed_items)


class LightGcn(TriedModel):
    """Trained when the stream begins and, from where it stood, at the first slide's end of each day, with BPR over edges drawn
    evenly and items drawn evenly among those of the graph; smoothed anew over the edges of the last days at every slide.

    What was never trained starts at zero, and has the vector that its edges give it. Source: He et al., 2020; loss: Rendle et
    al., 2009.

    Args:
        width: of a vector; seed: names every draw.
    """

    def __init__(self, width: int, settings: LightGcnSettings, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.retrained_at_ms: list[int] = []
        self._user_table, self._item_table = torch.zeros(1, width), torch.zeros(1, width)
        self._trained: dict[str, np.ndarray] = {"users": np.zeros(1, bool), "items": np.zeros(1, bool)}
        self._window = EventWindow(settings.days * DAY_MS)
        self._daily = Daily()
        self._clicks = FadingClicks([settings.half_life_ms])

    def begin(self, as_of_ms: int) -> None:
        """Train for the first time, on what was taken in so far."""
        self._daily.begin(as_of_ms)
        self._train(as_of_ms, FIRST_STEPS)

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide, and train where a day has begun."""
        self._window.observe(facts)
        self._clicks.observe(facts)
        self._user_table = _with_rows(self._user_table, int(facts.user_idx.max(initial=0)) + 1)
        self._item_table = _with_rows(self._item_table, int(facts.item_idx.max(initial=0)) + 1)
        if self._daily.due(facts.slide_end_ms):
            self.retrained_at_ms.append(facts.slide_end_ms)
            self._train(facts.slide_end_ms, DAILY_STEPS)

    def freeze_each(self, as_of_ms: int, num_items: int) -> list[Ranker]:
        """Return one ranker, smoothed over the edges as they stand; there is one setting."""
        graph = ClickGraph.of(*self._window.events(), MOST_EDGES)
        vectors = graph.propagated(self._start(graph))
        width = vectors.shape[1]
        items = torch.zeros(num_items + 1, width + 2)
        items[1:, width] = _NO_EDGE
        known = graph.items <= num_items
        rows = torch.from_numpy(graph.items[known])
        items[rows, :width] = vectors[len(graph.users) :][torch.from_numpy(known)]
        items[rows, width] = 0.0
        items[:, width + 1] = torch.from_numpy(self._clicks.values(num_items)[0]).float()
        return [LightGcnRanker(graph.users, vectors[: len(graph.users)], items)]

    def _start(self, graph: ClickGraph) -> Tensor:
        """The trained vectors (nodes, d) of the graph's nodes."""
        rows = (self._user_table[torch.from_numpy(graph.users)], self._item_table[torch.from_numpy(graph.items)])
        return torch.cat(rows)

    def _train(self, as_of_ms: int, steps: int) -> None:
        graph = ClickGraph.of(*self._window.events(), MOST_EDGES)
        if len(graph.items) < 2:
            return
        generator = torch_generator(self.seed, as_of_ms, "lightgcn")
        rng = np.random.Generator(np.random.Philox(derive_seed(self.seed, as_of_ms, "lightgcn")))
        start = self._start(graph)
        fresh = torch.from_numpy(~np.r_[self._was_trained("users", graph.users), self._was_trained("items", graph.items)])
        start[fresh] = START_DEVIATION * torch.randn(int(fresh.sum()), start.shape[1], generator=generator)
        start.requires_grad_(True)
        optimiser = torch.optim.Adam([start], lr=self.settings.learning_rate, fused=True)
        for _ in range(steps):
            optimiser.zero_grad(set_to_none=True)
            _set_gradient(graph, start, rng)
            optimiser.step()
        vectors = start.detach()
        if not bool(torch.isfinite(vectors).all()):
            return
        self._user_table[torch.from_numpy(graph.users)] = vectors[: len(graph.users)]
        self._item_table[torch.from_numpy(graph.items)] = vectors[len(graph.users) :]
        for kind, index in (("users", graph.users), ("items", graph.items)):
            self._trained[kind][index] = True

    def _was_trained(self, kind: str, index: np.ndarray) -> np.ndarray:
        table = self._user_table if kind == "users" else self._item_table
        have = self._trained[kind]
        self._trained[kind] = np.r_[have, np.zeros(len(table) - len(have), bool)]
        return np.asarray(self._trained[kind][index])


def _set_gradient(graph: ClickGraph, start: Tensor, rng: np.random.Generator) -> None:
    """Set the gradient of one step's loss; smoothing is linear and symmetric, so that it takes the gradient back as well."""
    edges = graph.edges[rng.integers(0, len(graph.edges), EDGES_PER_STEP)]
    user, item = edges >> 32, edges & 0xFFFFFFFF
    other = rng.integers(0, len(graph.items), len(edges))
    keep = ~graph.has_edge(user, other)
    nodes = [torch.from_numpy(one[keep]) for one in (user, len(graph.users) + item, len(graph.users) + other)]
    if not len(nodes[0]):
        start.grad = torch.zeros_like(start)
        return
    vectors = graph.propagated(start.detach()).requires_grad_(True)
    bpr_loss(*(vectors[one] for one in nodes)).backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    penalty = L2_WEIGHT / len(nodes[0]) * sum(start[one].square().sum() for one in nodes)
    penalty.backward()  # type: ignore[union-attr]
    assert start.grad is not None
    start.grad += graph.propagated(vectors.grad)


def _with_rows(table: Tensor, size: int) -> Tensor:
    """Return a table of at least ``size`` rows, new ones zero."""
    have = len(table)
    if size <= have:
        return table
    return torch.cat([table, torch.zeros(max(size, 2 * have) - have, table.shape[1])])
