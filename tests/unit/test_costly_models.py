"""Each costly model by hand: rows to train on, what fine-tuning learns, LightGCN against dense matrices."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dynmm_core.baselines.contract import Facts
from dynmm_core.baselines.costly import lightgcn
from dynmm_core.baselines.costly.event_window import EventWindow
from dynmm_core.baselines.costly.fine_tune import FineTune, FineTuneSettings
from dynmm_core.baselines.costly.graph import LAYERS, ClickGraph
from dynmm_core.baselines.costly.lightgcn import L2_WEIGHT, LightGcn, LightGcnSettings
from dynmm_core.baselines.costly.sequence_model import SequenceModel
from dynmm_core.baselines.costly.training_rows import TrainingRows, oldest_first
from dynmm_core.evidence.recents import RecentItems, Recents
from dynmm_core.model.sasrec import SASRec
from dynmm_core.randomness import torch_generator
from dynmm_core.times import DAY_MS
from tests.streams import Event, facts, in_slides, requests, stream

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(lightgcn, "FIRST_STEPS", 100)
    monkeypatch.setattr(lightgcn, "EDGES_PER_STEP", 256)


def backbone(items: int, max_length: int = 6) -> SASRec:
    model = SASRec(items, 16, layers=1, heads=1, max_length=max_length, dropout=0.1)
    model.initialise(torch_generator(0, 0, "test"))
    return model.eval()


def test_every_event_with_a_past_is_a_target_once_after_its_own_items() -> None:
    rng = np.random.default_rng(0)
    max_length, recents, past = 5, RecentItems(5), {user: [] for user in range(6)}
    for size in (0, 1, 40, 3, 90):
        users, items = rng.integers(0, 6, size), rng.integers(1, 30, size)
        times = np.arange(size)
        rows = TrainingRows.of(users, items, recents.before(users, items, times, within=True), max_length)
        expected = []
        for user, item in zip(users.tolist(), items.tolist(), strict=True):
            if past[user]:
                expected.append((item, past[user][-1]))
            past[user].append(item)
        found = []
        for row, length, targets in zip(rows.items, rows.lengths, rows.targets, strict=True):
            assert (row[:length] > 0).all() and (row[length:] == 0).all()
            assert any(row[:length].tolist() == own[k : k + length] for own in past.values() for k in range(len(own)))
            found += [(int(row[at]), int(row[at - 1])) for at in range(length - targets, length)]
        assert sorted(found) == sorted(expected)
        batched = []
        for inputs, targets in rows.batches(20, rng):
            assert inputs.shape == targets.shape and inputs.numel() <= 20 and ((inputs > 0) | (targets == 0)).all()
            batched += list(zip(targets[targets > 0].tolist(), inputs[targets > 0].tolist(), strict=True))
        assert sorted(batched) == sorted(expected)
        recents.observe(users, items, times)


def test_histories_turn_round_and_close_up() -> None:
    items, length = oldest_first(np.array([[9, 3, 0, 2], [0, 0, 0, 0], [1, 2, 3, 4]]), 8)
    assert items.tolist() == [[2, 3, 0, 0], [0, 0, 0, 0], [4, 3, 2, 1]] and length.tolist() == [2, 0, 4]


def test_new_items_start_as_the_mean_of_what_their_clickers_had() -> None:
    class Idle(SequenceModel):
        def take_in(self, facts: Facts, before: Recents) -> None:
            pass

    model = Idle(backbone(3), HOUR_MS, 0)
    # Items are numbered in order: 4 is clicked by users with (2, 1) and (3); nobody who clicks 5 had anything.
    log = [(1, 1, 0), (1, 2, 0), (2, 3, 0), (1, 4, 0), (2, 4, 0), (3, 5, 0)]
    before = model.model.item_embedding.weight.detach().clone()
    model.observe(facts(stream(log)))
    after = model.model.item_embedding.weight.detach()
    assert torch.equal(after[:4], before)
    assert torch.allclose(after[4], before[1:4].mean(0)) and torch.allclose(after[5], before[1:4].mean(0))
    model.observe(facts([Event(9, 2, 1, (), 0), Event(9, 6, 2, ((2, 1),), 1)]))
    assert torch.equal(model.model.item_embedding.weight.detach()[6], before[2])


@pytest.mark.parametrize("rehearsed", [0, 2])
def test_fine_tuning_learns_a_planted_transition_and_rehearsal_keeps_an_old_one(rehearsed: int) -> None:
    rng = np.random.default_rng(0)

    def slide(number: int, pairs: list[tuple[int, int]]) -> list[Event]:
        rows = []
        for k in range(20):
            first, then = pairs[rng.integers(0, len(pairs))]
            user, time_ms = 100 * number + k + 1, number * HOUR_MS + 10 * k
            rows += [Event(user, first, time_ms, (), 0), Event(user, then, time_ms + 1, ((first, time_ms),), 1)]
        return rows

    def rank_after(model: FineTune, item: int, then: int) -> int:
        asked = requests([Event(9_999, then, 50 * HOUR_MS, ((item, 0),), 1)])
        return int(model.freeze(0, 12).rank(asked)[0][0])

    old, new = [(1, 2), (3, 4), (5, 6)], [(7, 12), (8, 11), (9, 10)]
    model = FineTune(backbone(12), FineTuneSettings(1e-2, rehearsed, HOUR_MS), 0)
    model.begin(0)
    for number in range(25):
        model.observe(facts(slide(number, old)))
    assert [rank_after(model, *pair) for pair in old] == [0, 0, 0]
    assert sum(rank_after(model, *pair) for pair in new) > 3
    for number in range(25, 85):
        model.observe(facts(slide(number, new)))
    assert [rank_after(model, *pair) for pair in new] == [0, 0, 0]
    kept = [rank_after(model, *pair) for pair in old] == [0, 0, 0]
    assert kept == (rehearsed > 0)


def test_before_the_stream_begins_fine_tuning_remembers_and_does_not_learn() -> None:
    log = in_slides(stream([(user, item, 60_000) for item in range(1, 7) for user in (1, 2, 3)]))
    model = FineTune(backbone(6), FineTuneSettings(1e-2, 1, HOUR_MS), 0)
    for slide in log[:-1]:
        model.observe(facts(slide))
    assert all(torch.equal(a, b) for a, b in zip(model.model.parameters(), backbone(6).parameters(), strict=True))
    model.begin(0)
    model.observe(facts(log[-1]))
    assert any(not torch.equal(a, b) for a, b in zip(model.model.parameters(), backbone(6).parameters(), strict=True))


def test_moments_follow_a_table_that_grows() -> None:
    model = FineTune(backbone(4), FineTuneSettings(1e-3, 0, HOUR_MS), 0)
    model.begin(0)
    model.observe(facts(stream([(1, 1, 0), (1, 2, 0), (2, 3, 0), (2, 4, 0)])))
    old = model.optimiser.state[model.model.item_embedding.weight]["exp_avg"].clone()
    model.replace_table(model.model.item_embedding, grown := torch.nn.Embedding(8, 16))
    moments = model.optimiser.state[grown.weight]["exp_avg"]
    assert torch.equal(moments[:5], old) and not moments[5:].any()
    assert any(one is grown.weight for one in model.optimiser.param_groups[0]["params"])
    assert len(model.optimiser.state) == len(list(model.model.parameters()))


def test_a_slide_that_ends_in_nan_is_undone() -> None:
    model = FineTune(backbone(4), FineTuneSettings(float("inf"), 0, HOUR_MS), 0)
    model.begin(0)
    model.observe(facts(stream([(1, 1, 0), (1, 2, 0)])))
    assert all(torch.equal(a, b) for a, b in zip(model.model.parameters(), backbone(4).parameters(), strict=True))
    assert not model.optimiser.state


def test_a_long_history_counts_as_far_as_the_model_looks() -> None:
    ranker = FineTune(backbone(200, max_length=15), FineTuneSettings(1e-3, 0, HOUR_MS), 0).freeze(0, 200)
    event = Event(1, 20, 50, tuple((item, item) for item in range(1, 17)), 0)
    asked = requests([event])
    newest = np.arange(16, 0, -1)[None]

    def ranked(items: np.ndarray) -> list[int]:
        known = replace(asked, long_recents=Recents(items, items))
        return [int(ranker.rank(replace(known, targets=np.array([target])))[0][0]) for target in range(20, 201)]

    other = newest.copy()
    other[0, 14] = 19
    beyond = newest.copy()
    beyond[0, 15] = 19
    assert ranked(newest) == ranked(beyond) != ranked(other)


def clicks(seed: int, events: int = 60, users: int = 7, items: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(1, users + 1, events) * 3, rng.integers(1, items + 1, events) * 2


def dense(user_idx: np.ndarray, item_idx: np.ndarray) -> np.ndarray:
    """The normalised adjacency of He et al.: A[u, i] = 1 / sqrt(deg u · deg i)."""
    users, items = sorted(set(user_idx.tolist())), sorted(set(item_idx.tolist()))
    matrix = np.zeros((len(users) + len(items),) * 2)
    for user, item in zip(user_idx.tolist(), item_idx.tolist(), strict=True):
        row, column = users.index(user), len(users) + items.index(item)
        matrix[row, column] = matrix[column, row] = 1.0
    degree = matrix.sum(1)
    return matrix / np.sqrt(np.outer(degree, degree))


@pytest.mark.parametrize("seed", range(3))
def test_smoothing_equals_powers_of_the_dense_adjacency(seed: int) -> None:
    user_idx, item_idx = clicks(seed)
    graph = ClickGraph.of(user_idx, item_idx, 1_000)
    matrix = dense(user_idx, item_idx)
    start = torch.randn(graph.nodes, 5, generator=torch.Generator().manual_seed(seed))
    powers = [np.linalg.matrix_power(matrix, k) @ start.numpy() for k in range(LAYERS + 1)]
    assert LAYERS == 3 and np.allclose(graph.propagated(start).numpy(), np.mean(powers, axis=0), atol=1e-5)
    assert graph.users.tolist() == sorted(set(user_idx.tolist())) and graph.items.tolist() == sorted(set(item_idx.tolist()))


def test_the_newest_edges_stay_where_there_are_too_many() -> None:
    graph = ClickGraph.of(np.array([1, 2, 1, 3]), np.array([5, 6, 5, 7]), 2)
    assert (graph.users.tolist(), graph.items.tolist()) == ([1, 3], [5, 7])
    empty = ClickGraph.of(np.zeros(0, np.int64), np.zeros(0, np.int64), 2)
    assert empty.nodes == 0 and empty.propagated(torch.zeros(0, 4)).shape == (0, 4)


def test_the_gradient_is_that_of_bpr_through_the_dense_adjacency() -> None:
    user_idx, item_idx = clicks(4)
    graph = ClickGraph.of(user_idx, item_idx, 1_000)
    start = torch.randn(graph.nodes, 5, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    lightgcn._set_gradient(graph, start, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    edges = graph.edges[rng.integers(0, len(graph.edges), lightgcn.EDGES_PER_STEP)]
    other = rng.integers(0, len(graph.items), len(edges))
    known = set(graph.edges.tolist())
    u, n = len(graph.users), len(edges)
    rows = [(e >> 32, u + (e & 0xFFFF), u + o) for e, o in zip(edges.tolist(), other.tolist(), strict=True)
            if (e >> 32) << 32 | o not in known]  # fmt: skip
    assert 0 < len(rows) < n
    a, b, c = (torch.tensor(column) for column in zip(*rows, strict=True))
    matrix = torch.from_numpy(dense(user_idx, item_idx)).float()
    mine = start.detach().clone().requires_grad_(True)
    total = sum(torch.linalg.matrix_power(matrix, k) @ mine for k in range(LAYERS + 1)) / (LAYERS + 1)
    loss = -torch.nn.functional.logsigmoid((total[a] * (total[b] - total[c])).sum(1)).mean()
    loss = loss + L2_WEIGHT * sum(mine[one].square().sum(1).mean() for one in (a, b, c))
    loss.backward()
    assert mine.grad is not None and start.grad is not None and torch.allclose(mine.grad, start.grad, atol=1e-6)


def groups(seed: int, events: int = 300) -> list[Event]:
    """Users and items in two groups that do not mix: 1 … 10 click items of their own half."""
    rng = np.random.default_rng(seed)
    users = rng.integers(1, 11, events)
    items = rng.integers(0, 10, events) * 2 + users % 2 + 1
    return [Event(int(u), int(i), 1_000 * k, (), 0) for k, (u, i) in enumerate(zip(users, items, strict=True))]


def test_lightgcn_knows_users_by_edges_others_by_their_items_and_the_rest_by_popularity() -> None:
    log = groups(0)
    popular = [Event(50 + k, 3, 300_000 + k, (), 0) for k in range(40)] + [Event(99, 30, 300_100, (), 0)]
    model = LightGcn(8, LightGcnSettings(1, 1e-2, HOUR_MS), 0)
    model.observe(facts(log + popular))
    model.begin(HOUR_MS)
    ranker = model.freeze(HOUR_MS, 31)

    def ranked(event: Event) -> list[int]:
        empty = np.zeros(0, np.int64)
        found = []
        for target in range(1, 32):
            asked = replace(requests([event], [target]), consumed_rows=empty, consumed_items=empty)
            found.append(int(ranker.rank(asked)[0][0]))
        return found

    own = [item for item in range(1, 21) if item % 2 == 1]
    for event in (Event(2, 1, 0, (), 0), Event(77_777, 1, 0, ((5, 0), (11, 1)), 0)):
        assert max(ranked(event)[item - 1] for item in own) < min(ranked(event)[item] for item in own)
    nobody = ranked(Event(77_777, 1, 0, (), 0))
    counts = np.bincount([event.item for event in log + popular], minlength=32)
    assert nobody[2] == 0 and nobody[30] == (counts[1:] > 0).sum()
    assert all(nobody[i - 1] < nobody[j - 1] for i in range(1, 21) for j in range(1, 21) if counts[i] > counts[j])
    # 21 … 29 and 31 were never clicked: behind everything that was.
    assert min(ranked(Event(2, 1, 0, (), 0))[k - 1] for k in (*range(21, 30), 31)) == (counts[1:] > 0).sum()


def test_new_edges_count_before_the_next_training() -> None:
    model = LightGcn(8, LightGcnSettings(1, 1e-2, HOUR_MS), 0)
    model.observe(facts(groups(1)))
    model.begin(HOUR_MS)
    weights = model._item_table.clone()
    fresh = [Event(60, item, 400_000 + item, (), 0) for item in (2, 4, 6, 25)] + [Event(4, 26, 400_100, (), 0)]
    model.observe(facts(fresh))
    assert torch.equal(model._item_table[: len(weights)], weights)
    asked = [requests([Event(60, 1, 0, (), 0)], [item]) for item in (25, 26)]
    better = [int(model.freeze(HOUR_MS, 26).rank(one)[0][0]) for one in asked]
    # Item 25 hangs on the even items as the user does, item 26 on the odd half.
    assert better[0] < better[1]


def test_the_window_holds_the_events_of_the_last_days() -> None:
    window = EventWindow(2 * DAY_MS)
    for day in range(6):
        times = [day * DAY_MS + hour * HOUR_MS for hour in (1, 13)]
        slide = [Event(day + 1, 10 * day + k + 1, time_ms, (), 0) for k, time_ms in enumerate(times)]
        given = facts(slide)
        window.observe(
            type(given)(day * DAY_MS + 14 * HOUR_MS, *(getattr(given, f) for f in list(given.__dataclass_fields__)[1:]))
        )
    users, items = window.events()
    # The last slide ends at 14:00 of day 5; nothing was clicked on day 3 behind 14:00.
    assert (users.tolist(), items.tolist()) == ([5, 5, 6, 6], [41, 42, 51, 52])
