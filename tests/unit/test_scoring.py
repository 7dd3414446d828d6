"""The serving score: ranks among candidates, who is none, and the examples that are made on the way."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dynmm_core.adapt.scoring import NEGATIVES, ServingScore, _Block, _Consumed, feature_count
from dynmm_core.adapt.session_evidence import SessionEvidence
from dynmm_core.baselines.contract import Facts, Requests
from dynmm_core.baselines.session_knn import SessionKnn, SessionKnnSettings
from dynmm_core.evidence.candidate_features import ItemCounts, item_feature_count, item_features, pair_feature_count
from dynmm_core.evidence.context import KINDS, ContextCounts, by_opening, with_kinds
from dynmm_core.evidence.pace import OPENING_STEPS, SPANS, ItemPace
from dynmm_core.evidence.pair_counts import PairCounts, PairScales
from dynmm_core.evidence.recents import RECENT_ITEMS, Recents
from dynmm_core.model.head import OnlineHead

HOUR_MS = 3_600_000
ITEMS, USERS, DIM, HORIZONS, DECAYS, STATE = 300, 40, 4, 7, 5, 6


def score(weights: dict[int, float]) -> ServingScore:
    """A version of random counts whose head is linear with these weights."""
    rng = np.random.default_rng(0)
    horizons = rng.integers(0, 5, (HORIZONS, ITEMS + 1)).cumsum(0)
    horizons[:, 0] = 0
    decayed = rng.random((DECAYS, ITEMS + 1)) * (np.arange(ITEMS + 1) > 0)
    none = np.zeros(ITEMS + 1, np.int64)
    pace = ItemPace(np.zeros((SPANS, ITEMS + 1), np.int64), np.zeros((2 * len(OPENING_STEPS), ITEMS + 1)), none, none)
    counts = ItemCounts(HOUR_MS, horizons, decayed, none, none, np.ones(ITEMS + 1, bool), pace)
    pairs, context, openings = (
        PairCounts(PairScales.around(HOUR_MS)),
        ContextCounts(1 + KINDS, HOUR_MS),
        ContextCounts(1, HOUR_MS),
    )
    items = rng.integers(1, ITEMS + 1, 500)
    recents = Recents(rng.integers(0, ITEMS + 1, (500, RECENT_ITEMS)), np.full((500, RECENT_ITEMS), HOUR_MS - 1_000))
    times = np.full(500, HOUR_MS)
    pairs.observe(items, times, recents, HOUR_MS)
    following = PairCounts(PairScales.of_next(HOUR_MS))
    following.observe(items, times, recents, HOUR_MS)
    codes = rng.integers(0, 3, (500, 1))
    context.observe(with_kinds(codes, np.zeros(500), np.zeros(500)), items, times, HOUR_MS)
    openings.observe(by_opening(codes, np.arange(500) % 2), items, times, HOUR_MS)
    head = OnlineHead(feature_count(HORIZONS, DECAYS, 5, 1), STATE)
    weight = torch.zeros(head.weight.shape)
    for feature, value in weights.items():
        weight[feature] = value
    head.initialise(weight, torch.Generator().manual_seed(0))
    z = torch.randn(ITEMS + 1, DIM, generator=torch.Generator().manual_seed(1))
    sessions = SessionKnn(SessionKnnSettings(HOUR_MS))
    facts = Facts(HOUR_MS, rng.integers(1, USERS, 500), items, times, np.zeros(500, np.int64), recents)
    sessions.observe(facts)
    return ServingScore(counts, pairs, following, context, openings, sessions.frozen(HOUR_MS, ITEMS)[0], z, head)


def requests(seed: int = 2) -> Requests:
    rng = np.random.default_rng(seed)
    targets = rng.integers(1, ITEMS + 1, USERS)
    recents = Recents(rng.integers(0, ITEMS + 1, (USERS, RECENT_ITEMS)), np.zeros((USERS, RECENT_ITEMS), np.int64))
    empty, zeros = np.zeros(0, np.int64), np.zeros(USERS, np.int64)
    return Requests(np.arange(1, USERS + 1), targets, np.full(USERS, HOUR_MS), recents, zeros, zeros, empty, empty)


def ranked(version: ServingScore, asked: Requests, every: bool = True, chosen: bool = True, seed: int = 0):  # type: ignore[no-untyped-def]
    h = torch.randn(USERS, DIM, generator=torch.Generator().manual_seed(3))
    state, context = torch.ones(USERS, STATE), np.ones((USERS, 1 + KINDS), np.int64)
    return version.rank(asked, context, h, state, np.full(USERS, chosen), np.random.default_rng(seed), every=every)


def test_by_popularity_alone_the_rank_is_that_of_popularity() -> None:
    version, asked = score({0: 1.0}), requests()
    counts = version.counts.horizons[0]
    best = np.argsort(-counts, kind="stable")[:5]
    asked = replace(asked, targets=np.where(np.arange(USERS) % 2, best[0], asked.targets))
    found = ranked(version, asked)
    # Items of the highest count outnumber a list, but not by a better one than the best target.
    assert (found.better[1::2] == 0).all()
    hit = found.better >= 0
    assert hit.any() and not hit.all()
    assert (found.better[hit] <= (counts[1:][None] > counts[asked.targets[hit]][:, None]).sum(1)).all()


def test_what_was_consumed_is_no_candidate_but_a_target_stays_one() -> None:
    version, asked = score({0: 1.0}), requests()
    counts = version.counts.horizons[0]
    best, second = (np.flatnonzero(counts == value)[0] for value in (counts.max(), counts.max() - 1))
    asked = replace(asked, targets=np.full(USERS, second))
    before = ranked(version, asked)
    rows = np.arange(USERS)
    without = ranked(version, replace(asked, consumed_rows=rows, consumed_items=np.full(USERS, best)))
    itself = ranked(version, replace(asked, consumed_rows=rows, consumed_items=np.full(USERS, second)))
    assert (before.better[before.better >= 0] - without.better[before.better >= 0] == 1).all()
    assert np.array_equal(itself.better, before.better) and np.array_equal(itself.ties, before.ties)


def test_scores_that_are_no_numbers_are_misses() -> None:
    better = ranked(score({0: float("nan")}), requests()).better
    assert (better == -1).all()


def test_an_unknown_target_is_a_miss() -> None:
    asked = replace(requests(), targets=np.full(USERS, ITEMS + 1))
    found = ranked(score({0: 1.0}), asked)
    assert (found.better == -1).all() and len(found.examples) == 0


def test_ranking_again_or_in_parts_gives_the_same() -> None:
    version, asked = score({0: 1.0, 17: 0.5, -2: 0.3}), requests()
    whole, again = ranked(version, asked), ranked(version, asked)
    assert np.array_equal(whole.better, again.better) and torch.equal(whole.examples.features, again.examples.features)
    alone = ranked(version, asked, every=False)
    assert np.array_equal(alone.better, whole.better)
    assert (ranked(version, asked, every=False, chosen=False).better == -1).all()


def test_examples_begin_with_the_target_and_say_how_the_others_were_drawn() -> None:
    version, asked = score({0: 1.0}), requests()
    found = ranked(version, asked)
    hit = np.flatnonzero(found.better >= 0)
    assert found.examples.features.shape == (len(hit), 1 + NEGATIVES, version.head.weight.shape[0])
    own = found.examples.features[:, 0, 0].float().numpy()
    counts = version.counts.horizons[0][asked.targets[hit]]
    assert (np.argsort(own, kind="stable") == np.argsort(counts, kind="stable")).mean() > 0.5
    assert np.array_equal(np.unique(own, return_inverse=True)[1], np.unique(counts, return_inverse=True)[1])
    assert (found.examples.log_q[:, 0] == 0).all()
    others = NEGATIVES / np.exp(found.examples.log_q[:, 1].numpy())
    assert others == pytest.approx(np.round(others), abs=1e-2) and (others > 50).all()


def test_the_user_s_own_pairs_bring_candidates_of_his_own() -> None:
    version, asked = score({0: 1.0}), requests()
    nobody = replace(asked, recents=Recents(np.zeros_like(asked.recents.items), asked.recents.time_ms))
    assert (ranked(version, asked).better >= 0).sum() > (ranked(version, nobody).better >= 0).sum()


@pytest.mark.parametrize("every", [True, False])
def test_the_targets_features_are_those_of_their_definitions(every: bool) -> None:
    version, asked, rng = score({0: 1.0}), requests(), np.random.default_rng(5)
    context = np.c_[rng.integers(0, 3, (USERS, 1)), np.ones((USERS, KINDS), np.int64)]
    h, some = torch.randn(USERS, DIM, generator=torch.Generator().manual_seed(3)), np.arange(USERS) % 3 == 0
    found = version.rank(asked, context, h, torch.ones(USERS, STATE), some, rng, every=every)
    rows = np.flatnonzero(some & (found.better >= 0))
    items, place = asked.targets[rows], np.arange(ITEMS + 1)
    assert len(found.examples) == len(rows) > 5
    own = found.examples.features[:, 0].float().numpy().T
    products = (h @ version.z[1:].T).numpy()
    latent = products[rows, items - 1]
    following = version.following.lift(asked.recents.items[:, 0], rows, items, version.prior)
    first, pairs = item_feature_count(HORIZONS, DECAYS), item_feature_count(HORIZONS, DECAYS) + pair_feature_count(5)
    assert own[:first] == pytest.approx(item_features(version.counts, items), abs=1e-2)
    expected = np.stack([*following, latent / 4, (latent - products[rows].max(1)) / 8])
    assert own[pairs : pairs + 4] == pytest.approx(expected, abs=1e-2)
    openings = by_opening(context[:, :-KINDS], asked.session_position)
    tables = ((version.context, context), (version.openings, openings))
    said = [counts.table(codes, place, version.prior).features(rows, items) for counts, codes in tables]
    assert own[-(2 + KINDS) :] == pytest.approx(np.concatenate(said), abs=1e-2)


def test_negatives_are_any_other_candidates_and_never_the_target() -> None:
    row, items = np.array([0, 0, 0, 1, 1]), np.array([1, 2, 3, 2, 9])
    block = _Block(np.arange(2), np.array([0, 3, 5]), row, items, torch.arange(5.0)[None])
    found = block.examples(np.array([2, 9]), np.ones(2, bool), torch.zeros(2, 1), np.random.default_rng(0)).features[:, :, 0]
    assert found[:, 0].tolist() == [1, 4] and [set(one.tolist()) for one in found[:, 1:]] == [{0, 2}, {3}]


def test_a_rival_whose_score_is_no_number_counts_as_higher() -> None:
    block = _Block(np.arange(1), np.array([0, 3]), np.zeros(3, np.int64), np.array([1, 2, 3]), torch.zeros(1, 3))
    better, ties = block.ranks(np.array([0.5, np.nan, 0.5], np.float32), np.array([1]), _Consumed(requests()))
    assert (better.tolist(), ties.tolist()) == ([1], [1])


def test_the_pool_and_the_trends_are_the_liveliest_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynmm_core.adapt.scoring.NEAREST_POOL", 10)
    version = score({})
    best = np.argsort(-version.counts.decayed[:, 1:], kind="stable") + 1
    assert version.pool.tolist() == sorted(best[-1, :10].tolist())
    assert all({*best[row, :50].tolist()} <= {*version.trends.tolist()} for row in (1, 2, 3))


def test_what_like_sessions_say_by_hand() -> None:
    said = SessionEvidence.of(np.array([0, 0, 0, 2]), np.array([3, 5, 9, 4]), np.array([2.0, 6.0, 2.0, 7.0]), 3)
    assert said.best(3)[:, :4].tolist() == [[5, 3, 9, 0], [0, 0, 0, 0], [4, 0, 0, 0]]
    found = said.features(np.array([0, 0, 1, 2]), np.array([3, 4, 4, 4]))
    assert found[0] == pytest.approx(np.log([0.201, 0.001, 0.001, 1.001]) / 3, rel=1e-4) and found[1].tolist() == [1, 0, 0, 1]
    many = np.arange(1, 61)
    assert SessionEvidence.of(0 * many, many, 1.0 * many, 1).best(1)[0].tolist() == list(range(60, 10, -1))
