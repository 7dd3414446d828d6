"""The one serving score: candidates of a request, their features, and the head that ranks them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dynmm_core.adapt.session_evidence import SESSION_FEATURES, SessionEvidence
from dynmm_core.baselines.contract import Requests
from dynmm_core.baselines.item_lists import expand
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
from dynmm_core.model.devices import send
from dynmm_core.model.head import OnlineHead
from dynmm_core.model.head_trainer import HeadExamples
from dynmm_core.model.patched import PatchedRows

ROWS_PER_BLOCK = 256
NEAREST = 30
NEAREST_POOL = 4_096
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
        table = _ItemTable(self, others, context, by_opening(context[:, :-KINDS], requests.session_position))
        better, ties = np.full(len(requests), -1, np.int64), np.zeros(len(requests), np.int64)
        consumed = _Consumed(requests)
        examples = [HeadExamples.none(self.head.weight.shape[0], state.shape[1], NEGATIVES, h.device)]
        for rows, alike, best in zip(blocks, sessions, named, strict=True):
            at = send(torch.from_numpy(rows), h.device)
            block = self._features(requests, rows, lists, alike, best, table, h[at])
            scores = self.head.ranking(block.features, state[at], send(torch.from_numpy(block.row), h.device)).cpu().numpy()
            better[rows], ties[rows] = block.ranks(scores, requests.targets[rows], consumed)
            examples.append(block.examples(requests.targets[rows], chosen[rows], state[at], random))
        return Ranked(better, ties, HeadExamples.joined(examples))

    def _features(
        self, requests: Requests, rows: np.ndarray, lists: NeighbourLists, sessions: SessionEvidence, best: np.ndarray,
        table: "_ItemTable", h: Tensor,
    ) -> "_Block":  # fmt: skip
        recents = requests.recents.take(rows)
        rule_columns = len(self.pairs.scales.rule_ms)
        products = table.products(h)
        own = np.c_[self._nearest(products), best]
        candidates = gather_candidates(recents, lists, self.trends, own, rule_columns)
        row, items = candidates.row, candidates.items
        places = table.places(items)
        at = (send(torch.from_numpy(one), h.device) for one in (row, places))
        counted = (
            table.features(places),
            pair_features(candidates, self.prior),
            self.following.lift(recents.items[:, 0], row, items, self.prior),
            sessions.features(row, items),
            table.context(rows[row], places),
        )
        *of_items, of_sessions, of_context = (send(torch.from_numpy(one), h.device) for one in counted)
        features = torch.cat([*of_items, _latent_features(products, *at), of_sessions, of_context])
        return _Block(rows, candidates.starts, row, items, features)

    def _nearest(self, products: Tensor) -> np.ndarray:
        pool = self.pool
        near = products[:, 1 : 1 + len(pool)].topk(min(NEAREST, len(pool)), dim=1).indices
        return np.asarray(pool[near.cpu().numpy()])


def _latent_features(products: Tensor, row: Tensor, places: Tensor) -> Tensor:
    """Return (LATENT_FEATURES, m): h·z of candidates at ``places`` (m,) of requests ``row`` (m,), and how far below the best."""
    latent = products[row, places]
    best = products.new_zeros(len(products)).scatter_reduce(0, row, latent, "amax", include_self=False)
    return torch.stack([latent / 4.0, (latent - best[row]) / 8.0])


class _ItemTable:
    """What is known of the items that may be candidates, gathered once: padding, the pool (p,), then ``others``.

    Args:
        context: codes (n, columns + KINDS) of all requests; openings: those of :func:`by_opening` (n, columns).
    """

    def __init__(self, score: ServingScore, others: np.ndarray, context: np.ndarray, openings: np.ndarray) -> None:
        first = np.r_[0, score.pool]
        possible = np.r_[first, np.setdiff1d(others, first)]
        self._row = np.zeros(score.counts.num_items + 1, np.int32)
        self._row[possible] = np.arange(len(possible))
        self._features = item_features(score.counts, possible)
        asked, prior = ((score.context, context), (score.openings, openings)), score.prior[possible]
        self._contexts = [counts.table(codes, self._row, prior) for counts, codes in asked]
        self._z = score.z[torch.from_numpy(possible)]

    def products(self, h: Tensor) -> Tensor:
        """h·z (n, places) of user latents (n, d) with every item of the table, in the order of :meth:`places`."""
        # One product of all is many times faster than gathering each request's candidates, which repeat.
        return h @ self._z.T

    def places(self, items: np.ndarray) -> np.ndarray:
        """Where ``items`` (m,) lie in the table, and among the products."""
        return np.asarray(self._row[items])

    def features(self, places: np.ndarray) -> np.ndarray:
        """Features (f, m) of the items at ``places`` (m,)."""
        return np.take(self._features, places, axis=1)

    def context(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Context features (columns, m) of the items at ``places`` (m,), each for its request ``rows`` (m,)."""
        return np.concatenate([table.features(rows, places) for table in self._contexts])


class _Consumed:
    """Pairs (request, item that is no candidate there), by request."""

    def __init__(self, requests: Requests) -> None:
        order = np.argsort(requests.consumed_rows, kind="stable")
        self._rows, self._items = requests.consumed_rows[order], requests.consumed_items[order]

    def among(self, rows: np.ndarray, row: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Which candidates ``items`` (m,), rising in each of the ``rows`` (n,) that ``row`` (m,) names, were consumed there."""
        low, high = np.searchsorted(self._rows, rows), np.searchsorted(self._rows, rows, "right")
        asked, at = expand(low, high - low)
        found = np.zeros(len(items), bool)
        if len(items):
            keys = row << 32 | items
            wanted = asked << 32 | self._items[at]
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            found[place[keys[place] == wanted]] = True
        return found


@dataclass(frozen=True)
class _Block:
    """Requests ``rows`` (n,) with their candidates ``items`` (m,), which :class:`Candidates` lays out, and features (f, m)."""

    rows: np.ndarray
    starts: np.ndarray
    row: np.ndarray
    items: np.ndarray
    features: Tensor

    def ranks(self, scores: np.ndarray, targets: np.ndarray, consumed: _Consumed) -> tuple[np.ndarray, np.ndarray]:
        """(better, ties) of each target among the candidates that were not consumed; a score that is no number never helps it."""
        hit = self.items == targets[self.row]
        own, found = np.full(len(targets), np.inf, scores.dtype), np.zeros(len(targets), bool)
        own[self.row[hit]], found[self.row[hit]] = scores[hit], True
        open_ = ~hit & ~consumed.among(self.rows, self.row, self.items)
        of_row = own[self.row]
        above, equal = ~(scores <= of_row), scores == of_row
        better, ties = (np.bincount(self.row[told & open_], minlength=len(own)) for told in (above, equal))
        found &= ~np.isnan(own)
        return np.where(found, better, -1), np.where(found, ties, 0)

    def examples(self, targets: np.ndarray, chosen: np.ndarray, state: Tensor, random: np.random.Generator) -> HeadExamples:
        """Examples of the chosen requests whose target is among their candidates, with sampled other candidates."""
        positive = np.flatnonzero(self.items == targets[self.row])
        others = np.diff(self.starts) - 1
        positive = positive[(chosen & (others > 0))[self.row[positive]]]
        rows = self.row[positive]
        others, first = others[rows], self.starts[rows]
        drawn = first[:, None] + (random.random((len(rows), NEGATIVES)) * others[:, None]).astype(np.int64)
        drawn += drawn >= positive[:, None]
        at = send(torch.from_numpy(np.c_[positive, drawn]), state.device)
        # Drawn with replacement and evenly: each stands for its share of the others.
        log_q = np.log(NEGATIVES / others)[:, None] * np.r_[0.0, np.ones(NEGATIVES)]
        return HeadExamples(
            self.features[:, at].half().permute(1, 2, 0).contiguous(), state[send(torch.from_numpy(rows), state.device)],
            send(torch.from_numpy(log_q.astype(np.float32)), state.device),
        )  # fmt: skip
