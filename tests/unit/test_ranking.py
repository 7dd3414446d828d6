"""Exact ranks equal a sort over all candidates, consumed items left out, targets kept."""

import numpy as np
import torch

from dynmm_core.baselines.sparse_ranking import SharedScores
from dynmm_core.metrics.ranking import METRICS, expected_metrics
from dynmm_core.model.ranking import rank_targets


def brute(scores: np.ndarray, target: int, consumed: set[int]) -> tuple[int, int]:
    """Ranks by definition; ``scores`` are those of items 1 …"""
    if not 0 < target <= len(scores):
        return -1, 0
    candidates = [i for i in range(1, len(scores) + 1) if i == target or i not in consumed]
    mine = scores[target - 1]
    return sum(scores[i - 1] > mine for i in candidates), sum(scores[i - 1] == mine for i in candidates) - 1


def case(rows: int, items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[set[int]]]:
    rng = np.random.default_rng(3)
    consumed = [set(rng.integers(1, items + 4, 6).tolist()) for _ in range(rows)]
    targets = rng.integers(1, items + 3, rows)
    pairs = [(row, item) for row, seen in enumerate(consumed) for item in sorted(seen)]
    return targets, np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]), consumed


def test_ranks_of_latents_equal_a_full_sort() -> None:
    rows, items = 600, 40
    targets, consumed_rows, consumed_items, consumed = case(rows, items)
    rng = np.random.default_rng(4)
    users = torch.from_numpy(rng.integers(-2, 3, (rows, 3)).astype(np.float32))
    table = torch.from_numpy(np.vstack([np.zeros(3), rng.integers(-2, 3, (items, 3))]).astype(np.float32))
    better, ties = rank_targets(users, table, targets, consumed_rows, consumed_items)
    scores = (users @ table[1:].T).numpy()
    expected = [brute(scores[row], int(targets[row]), consumed[row]) for row in range(rows)]
    assert list(zip(better.tolist(), ties.tolist(), strict=True)) == expected


def test_where_no_item_is_known_every_target_is_a_miss() -> None:
    nobody = np.zeros(0, np.int64)
    better, ties = rank_targets(torch.ones(70, 3), torch.zeros(1, 3), np.arange(1, 71), nobody, nobody)
    assert (better == -1).all() and not ties.any() and better.shape == ties.shape == (70,)


def test_ranks_of_popularity_equal_a_full_sort() -> None:
    rows, items = 500, 40
    targets, consumed_rows, consumed_items, consumed = case(rows, items)
    scores = np.r_[99, np.random.default_rng(5).integers(0, 6, items)]
    better, ties = SharedScores(scores).rank(targets, consumed_rows, consumed_items)
    expected = [brute(scores[1:], int(targets[row]), consumed[row]) for row in range(rows)]
    assert list(zip(better.tolist(), ties.tolist(), strict=True)) == expected


def test_a_score_that_is_no_number_is_a_miss_and_beats_the_others() -> None:
    empty = np.zeros(0, np.int64)
    table = torch.tensor([[0.0], [1.0], [float("nan")], [2.0], [float("nan")]])
    better, ties = rank_targets(torch.ones(3, 1), table, np.array([1, 2, 3]), empty, empty)
    assert better.tolist() == [3, -1, 2] and ties.tolist() == [0, 0, 0]
    better, ties = rank_targets(torch.ones(1, 1), table, np.array([1]), np.array([0, 0]), np.array([3, 4]))
    assert better.tolist() == [1] and ties.tolist() == [0]
    better, ties = SharedScores(np.array([0.0, 1.0, np.nan, 2.0])).rank(np.array([1, 2]), empty, empty)
    assert better.tolist() == [2, -1] and ties.tolist() == [0, 0]


def test_a_constant_scorer_hits_ten_in_n() -> None:
    items = 400
    empty = np.zeros(0, np.int64)
    users, table = torch.ones(50, 4), torch.ones(items + 1, 4)
    found = rank_targets(users, table, np.arange(1, 51), empty, empty)
    popular = expected_metrics(*SharedScores(np.ones(items + 1, np.int64)).rank(np.arange(1, 51), empty, empty))
    column = METRICS.index("hr@10")
    assert np.allclose(expected_metrics(*found)[:, column], 10 / items)
    assert np.allclose(popular[:, column], 10 / items)


def test_rows_do_not_depend_on_their_neighbours() -> None:
    generator = torch.Generator().manual_seed(1)
    users, table = torch.randn(300, 16, generator=generator), torch.randn(900, 16, generator=generator)
    targets = np.arange(1, 301)
    empty = np.zeros(0, np.int64)
    whole = rank_targets(users, table, targets, empty, empty)
    alone = rank_targets(users[:10], table, targets[:10], empty, empty)
    assert whole[0][:10].tolist() == alone[0].tolist()
