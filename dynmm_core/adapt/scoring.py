"""The one serving score: candidates of a request, their features, and the head that ranks them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dynmm_core.adapt.session_evidence import SESSION_FEATURES, SessionEvidence
from dynmm_core.baselines.contract import Requests
from dynmm_core.baselines.session_knn import SessionKnnRanker
from dynmm_core.evidence.candidate_features import (
    ItemCounts,
    item_feature_count,
    item_features,
    item_prior,
    pair_feature_count,
    pair_features,
)
from dynmm_core.evidence.candidates import NeighbourLists, gather_candidates, neighbour_lists, trend_list
from dynmm_core.evidence.context import KINDS, ContextCounts, by_opening
from dynmm_core.evidence.pair_counts import PairCounts
from dynmm_core.model.head import OnlineHead
from dynmm_core.model.head_trainer import HeadExamples
from dynmm_core.model.patched import PatchedRows

ROWS_PER_BLOCK = 256
NEAREST = 30
NEAREST_POOL = 8_192
NEGATIVES = 100
LATENT_FEATURES = 2
NEXT_FEATURES = 2
_TREND_HORIZONS = (0, 1, 2, 4, 5)


def feature_count(horizons: int, decays: int, pair_columns: int, context_columns: int) -> int:
    """Width of a candidate's features: the item's, the pairs', the latents', the sessions', the context's."""
    own = item_feature_count(horizons, decays) + pair_feature_count(pair_columns)
    return own + NEXT_FEATURES + LATENT_FEATURES + SESSION_FEATURES + 2 * context_columns + KINDS


@dataclass(frozen=True)
class Ranked:
    """Ranks of the targets (n,): candidates that beat or equal each; better = -1 is a miss. ``examples``: to learn from."""

    better: np.ndarray
    ties: np.ndarray
    examples: HeadExamples


@dataclass(frozen=True)
class ServingScore:
    """A version as it serves: what was counted, frozen, latents z (num_items + 1, d), the head's averaged weights."""

    counts: ItemCounts
    pairs: PairCounts
    following: PairCounts
    context: ContextCounts
    openings: ContextCounts
    sessions: SessionKnnRanker
    z: Tensor | PatchedRows
    head: OnlineHead

    @cached_property
    def trends(self) -> np.ndarray:
        """Items at the top by any horizon or half-life: candidates of everybody."""
        return trend_list(np.r_[self.counts.horizons[list(_TREND_HORIZONS)], self.counts.decayed[1:4]])

    @cached_property
    def prior(self) -> np.ndarray:
        """Share of each item in the recent events (num_items + 1,)."""
        return item_prior(self.counts)

    @cached_property
    def item_totals(self) -> np.ndarray:
        """Co-click of each item with all others by the longest half-life (num_items + 1,)."""
        return np.asarray(self.pairs.totals(self.counts.num_items)[-1])

    @cached_property
    def pool(self) -> np.ndarray:
        """Items among which the nearest latents are looked for: all of a small catalogue, else those that are alive."""
        every = np.arange(1, self.counts.num_items + 1)
        if len(every) <= NEAREST_POOL:
            return every
        liveliest = np.argpartition(-self.counts.decayed[-1, 1:], NEAREST_POOL)[:NEAREST_POOL] + 1
        return np.sort(liveliest)

    @torch.no_grad()
    def rank(
        self, requests: Requests, context: np.ndarray, h: Tensor, state: Tensor, chosen: np.ndarray,
        random: np.random.Generator, *, every: bool,
    ) -> Ranked:  # fmt: skip
        """Rank the targets of requests (n) among their candidates; ``chosen`` (n,) bool are those to make examples of.

        Args:
            context: (n, columns + KINDS) codes; h: (n, d) user latents; state: (n, s) user features;
            random: draws the examples' negatives.
            every: False ranks the chosen requests alone; the others' better is -1.
        """
        lists = neighbour_lists(self.pairs, requests.recents.items, self.counts.num_items)
        wanted = np.arange(len(requests)) if every else np.flatnonzero(chosen)
        blocks = [wanted[start : start + ROWS_PER_BLOCK] for start in range(0, len(wanted), ROWS_PER_BLOCK)]
        sessions = [SessionEvidence.of(*self.sessions.said(requests.take(rows)), len(rows)) for rows in blocks]
        named = [one.best(len(rows)) for one, rows in zip(sessions, blocks, strict=True)]
        others = np.concatenate([lists.items.ravel(), self.trends, *(items.ravel() for items in named)])
        table = _ItemTable(self.counts, (self.context, self.openings), self.z, self.pool, others)
        better, ties = np.full(len(requests), -1, np.int64), np.zeros(len(requests), np.int64)
        consumed = _Consumed(requests)
        examples = [HeadExamples.none(self.head.weight.shape[0], state.shape[1], NEGATIVES, h.device)]
        for rows, alike, best in zip(blocks, sessions, named, strict=True):
            asked = context[rows], by_opening(context[rows, :-KINDS], requests.session_position[rows])
            block = self._features(requests, rows, asked, lists, alike, best, table, h[rows])
            scores = self.head(block.features, state[rows]).cpu().numpy()
            better[rows], ties[rows] = block.ranks(scores, requests.targets[rows], consumed)
            examples.append(block.examples(requests.targets[rows], chosen[rows], state[rows], random))
        return Ranked(better, ties, HeadExamples.joined(examples))

    def _features(
        self, requests: Requests, rows: np.ndarray, contexts: tuple[np.ndarray, ...], lists: NeighbourLists,
        sessions: SessionEvidence, best: np.ndarray, table: "_ItemTable", h: Tensor,
    ) -> "_Block":  # fmt: skip
        recents = requests.recents.take(rows)
        rule_columns = len(self.pairs.scales.rule_ms)
        products = table.products(h)
        own = np.c_[self._nearest(products), best]
        candidates = gather_candidates(recents, lists, self.trends, own, self.item_totals, rule_columns)
        items = candidates.items
        prior = self.prior[items]
        latent = products.gather(1, table.places(items))
        margin = latent - latent.amax(1, keepdim=True) if items.shape[1] else latent
        features = torch.cat(
            [
                torch.from_numpy(table.features(items)).to(h.device),
                torch.from_numpy(pair_features(candidates, self.prior)).to(h.device),
                torch.from_numpy(self.following.lift(recents.items[:, 0], items, prior, self.counts.num_items)).to(h.device),
                latent[:, :, None] / 4.0,
                margin[:, :, None] / 8.0,
                torch.from_numpy(sessions.features(items)).to(h.device),
                torch.from_numpy(table.context(contexts, items, prior)).to(h.device),
            ],
            dim=2,
        )
        return _Block(rows, items, features)

    def _nearest(self, products: Tensor) -> np.ndarray:
        pool = self.pool
        if not len(pool):
            return np.zeros((len(products), 0), np.int64)
        near = products[:, 1 : 1 + len(pool)].topk(min(NEAREST, len(pool)), dim=1).indices.cpu().numpy()
        return np.asarray(pool[near])


class _ItemTable:
    """Item features and latents, gathered once for the items that may be candidates: padding, the pool (p,), then ``others``."""

    def __init__(
        self, counts: ItemCounts, contexts: tuple[ContextCounts, ...], z: Tensor | PatchedRows, pool: np.ndarray,
        others: np.ndarray,
    ) -> None:  # fmt: skip
        first = np.r_[0, pool]
        possible = np.r_[first, np.setdiff1d(others, first)]
        self._row = np.zeros(counts.num_items + 1, np.int32)
        self._row[possible] = np.arange(len(possible))
        self._features = item_features(counts, possible)
        self._contexts = [one.table(self._row, len(possible)) for one in contexts]
        self._z = z[torch.from_numpy(possible)]

    def products(self, h: Tensor) -> Tensor:
        """h·z (n, places) of user latents (n, d) with every item of the table, in the order of :meth:`places`."""
        # One product of all is many times faster than gathering each request's candidates, which repeat.
        return h @ self._z.T

    def places(self, items: np.ndarray) -> Tensor:
        """Columns (…) of ``items`` (…) among the products."""
        return torch.from_numpy(self._row[items].astype(np.int64)).to(self._z.device)

    def features(self, items: np.ndarray) -> np.ndarray:
        """Features (…, f) of ``items`` (…)."""
        return np.asarray(self._features[self._row[items]])

    def context(self, contexts: tuple[np.ndarray, ...], items: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Context features (n, c, columns of all) of ``items`` (n, c) for requests in each of ``contexts`` (n, columns)."""
        places = self._row[items]
        tables = zip(self._contexts, contexts, strict=True)
        return np.concatenate([table.features(context, places, prior) for table, context in tables], axis=2)


class _Consumed:
    """Pairs (request, item that is no candidate there), by request."""

    def __init__(self, requests: Requests) -> None:
        order = np.argsort(requests.consumed_rows, kind="stable")
        self._rows, self._items = requests.consumed_rows[order], requests.consumed_items[order]

    def among(self, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Which candidates ``items`` (n, c), rising in a row with 0 behind the end, were consumed in their ``rows`` (n,)."""
        low, high = np.searchsorted(self._rows, rows), np.searchsorted(self._rows, rows, "right")
        sizes = high - low
        local = np.repeat(np.arange(len(rows)), sizes)
        at = np.repeat(low - (np.cumsum(sizes) - sizes), sizes) + np.arange(len(local))
        found = np.zeros(items.size, bool)
        width = items.shape[1]
        ends = np.where(items > 0, items, 1 << 31)
        keys = (np.arange(len(rows))[:, None] << 32 | ends).ravel()
        wanted = local << 32 | self._items[at]
        place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        if len(keys):
            found[place[keys[place] == wanted]] = True
        return found.reshape(len(rows), width)


@dataclass(frozen=True)
class _Block:
    """Requests ``rows`` (n,) with their candidates ``items`` (n, c) and features (n, c, f)."""

    rows: np.ndarray
    items: np.ndarray
    features: Tensor

    def ranks(self, scores: np.ndarray, targets: np.ndarray, consumed: _Consumed) -> tuple[np.ndarray, np.ndarray]:
        """(better, ties) of each target among the candidates that were not consumed."""
        hit = self.items == targets[:, None]
        found = hit.any(1) & (targets > 0)
        open_ = (self.items > 0) & ~hit & ~consumed.among(self.rows, self.items)
        own = np.where(found, np.where(hit, scores, 0.0).sum(1), np.inf)[:, None]
        better = ((scores > own) & open_).sum(1)
        return np.where(found, better, -1), np.where(found, ((scores == own) & open_).sum(1), 0)

    def examples(self, targets: np.ndarray, chosen: np.ndarray, state: Tensor, random: np.random.Generator) -> HeadExamples:
        """Examples of the chosen requests whose target is among their candidates, with sampled other candidates."""
        hit = self.items == targets[:, None]
        others = (self.items > 0).sum(1) - 1
        rows = np.flatnonzero(chosen & hit.any(1) & (targets > 0) & (others > 0))
        positive = hit[rows].argmax(1) if self.items.shape[1] else np.zeros(0, np.int64)
        drawn = (random.random((len(rows), NEGATIVES)) * others[rows, None]).astype(np.int64)
        drawn += drawn >= positive[:, None]
        columns = torch.from_numpy(np.c_[positive, drawn])
        at = torch.from_numpy(rows)
        # Drawn with replacement and evenly: each stands for its share of the others.
        log_q = np.log(NEGATIVES / others[rows])[:, None] * np.r_[0.0, np.ones(NEGATIVES)]
        return HeadExamples(
            self.features[at[:, None], columns].half(), state[at].clone(),
            torch.from_numpy(log_q.astype(np.float32)).to(state.device),
        )  # fmt: skip
