"""`dynmm bench backbone`: split and metrics against brute force, verdicts by hand, the model against torch's own layers."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.backbone import peer, run
from benchmarks.backbone.report import band_checks, differences, missed
from benchmarks.backbone.run import BCE, CE, NEUTRAL, OURS, PEER
from benchmarks.backbone.split import Split
from benchmarks.backbone.training import Budget, Trained, figures_of, figures_of_lists, train_ours
from dynmm_core.cli import main
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.model import pretraining
from dynmm_core.model.losses import bce_loss, full_softmax_loss, sampled_softmax_loss
from dynmm_core.model.pretraining import BackboneTrainer, Sequences, TrainingSettings, other_items, training_bias
from dynmm_core.model.sasrec import SASRec
from dynmm_core.randomness import torch_generator

LENGTH = 4
events_of_users = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=9), min_size=1, max_size=8)


def split_of(users: list[list[int]]) -> Split:
    return Split(np.array([item for one in users for item in one]), np.r_[0, np.cumsum([len(one) for one in users])], 9)


def sasrec(items: int = 9, width: int = 8) -> SASRec:
    model = SASRec(items, width, layers=2, heads=2, max_length=LENGTH, dropout=0.0)
    model.initialise(torch_generator(3, 0, "test"))
    return model.eval()


def trained(name: str, figures: list[list[float]]) -> Trained:
    return Trained(name, np.array(figures), epochs=2, best_epoch=1, validation=0.1, seconds=1.0)


def constant(name: str, hr: float, ndcg: float) -> Trained:
    return trained(name, [[hr, ndcg], [hr, ndcg]])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PreparedLog:
    """Thirty users who go round twenty items, each from a place of their own."""
    folder = tmp_path_factory.mktemp("log")
    steps, users = np.meshgrid(np.arange(12), np.arange(30), indexing="ij")
    columns = {
        "user_id": [f"u{user}" for user in users.ravel()],
        "item_id": [f"i{(7 * user + step) % 20}" for user, step in zip(users.ravel(), steps.ravel(), strict=True)],
        "timestamp": (1_600_000_000_000 + 1_000 * np.arange(users.size)).astype(np.int64),
    }
    (folder / "raw").mkdir()
    pq.write_table(pa.table(columns), folder / "raw" / "interactions.parquet")
    prepare_folder(folder / "raw", folder / "data", Options(name="round"))
    return PreparedLog.open(folder / "data")


@given(events_of_users, st.sampled_from(["validation", "test"]))
def test_the_split_is_that_of_brute_force(users: list[list[int]], part: str) -> None:
    split = split_of(users)
    requests = split.requests(part, LENGTH)
    expected = []
    for row, events in enumerate(users):
        history, target = (events[:-2], events[-2:-1]) if part == "validation" else (events[:-1], events[-1:])
        if len(events) >= 3 and target[0] not in history:
            expected.append((row, history, target[0]))
    assert requests.users.tolist() == [row for row, _, _ in expected]
    assert requests.targets.tolist() == [target for _, _, target in expected]
    for k, (_, history, _) in enumerate(expected):
        recent = history[-LENGTH:]
        assert requests.histories[k].tolist() == recent + [0] * (LENGTH - len(recent))
        assert requests.lengths[k] == len(recent)
        assert requests.consumed_items[requests.consumed_rows == k].tolist() == sorted(set(history))
    train = split.train()
    parts = [train.items[a:b].tolist() for a, b in zip(train.starts[:-1], train.starts[1:], strict=True)]
    assert parts == [events[:-2] if len(events) >= 3 else events for events in users]


@given(events_of_users)
def test_a_peer_is_given_all_but_the_test_events(users: list[list[int]]) -> None:
    split = split_of(users)
    given_to, ends = peer.without_test(split)
    for row, events in enumerate(users):
        start, stop = given_to.starts[row], given_to.starts[row + 1]
        whole = len(events) < 3
        assert given_to.items[start:stop].tolist() == (events if whole else events[:-1])
        assert given_to.items[start : ends[row]].tolist() == (events if whole else events[:-2])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 30), min_size=3, max_size=9, unique=True), min_size=1, max_size=8))
def test_the_figures_are_those_of_a_sorted_list_without_consumed_items(users: list[list[int]]) -> None:
    split = replace(split_of(users), num_items=30)
    model = sasrec(items=30)
    requests = split.requests("test", LENGTH)
    expected, lists = [], []
    for events in users:
        recent = events[:-1][-LENGTH:]
        with torch.no_grad():
            scores = model(torch.tensor([recent]))[0, -1] @ model.item_embedding.weight.T
        ranked = sorted(set(range(1, 31)) - set(events[:-1]), key=lambda item: -float(scores[item]))
        rank = ranked.index(events[-1]) + 1
        expected.append([float(rank <= 10), 1 / math.log2(rank + 1) if rank <= 10 else 0.0])
        lists.append(ranked[:10])
    assert figures_of(model, requests) == pytest.approx(np.array(expected))
    assert figures_of_lists(np.array(lists), requests.targets) == pytest.approx(np.array(expected))


def test_the_model_is_a_stack_of_torch_encoder_layers() -> None:
    ours = sasrec(width=16)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    items = torch.tensor([[1, 4, 2, 9], [3, 3, 8, 1]])
    x = ours.item_embedding(items) * 4.0 + ours.position_embedding.weight
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)
    for block in ours.blocks:
        layer = nn.TransformerEncoderLayer(16, 2, 16, dropout=0.0, activation="relu", batch_first=True, norm_first=True)
        pairs = {
            "self_attn.in_proj_": block.project_qkv, "self_attn.out_proj.": block.project_out, "linear1.": block.feed_forward_in,
            "linear2.": block.feed_forward_out, "norm1.": block.norm_attention, "norm2.": block.norm_feed_forward,
        }  # fmt: skip
        layer.load_state_dict({name + kind: getattr(part, kind) for name, part in pairs.items() for kind in ("weight", "bias")})
        x = layer(x, src_mask=mask, is_causal=True)
    assert torch.allclose(ours(items), ours.norm_out(x), atol=1e-5)


def test_one_negative_by_hand() -> None:
    states, positives, negatives = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, -1.0]])
    by_hand = -math.log(1 / (1 + math.exp(-3))) - math.log(1 - 1 / (1 + math.exp(2)))
    assert float(bce_loss(states, positives, negatives)) == pytest.approx(by_hand)


def test_negatives_are_the_other_items_alike() -> None:
    targets = torch.arange(1, 6).repeat_interleave(20_000)
    drawn = other_items(targets, 5, torch.Generator().manual_seed(0))
    shares = torch.zeros(6, 6).index_put_((targets, drawn), torch.ones(len(targets)), accumulate=True)[1:, 1:] / 20_000
    assert torch.allclose(shares, (1 - torch.eye(5)) / 4, atol=0.02) and not shares.diagonal().any()


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("weight", [0.0, 1.0, -1.0])
def test_log_q_is_added_to_the_scores_in_training(weight: float, sampled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if sampled:
        monkeypatch.setattr(pretraining, "FULL_SOFTMAX_UP_TO", 0)
    model = sasrec()
    events = np.array([1, 1, 1, 1, 2, 2, 3, 5])
    trainer = BackboneTrainer(model, Sequences(events, np.array([0, 8])), TrainingSettings(log_q_weight=weight), 0)
    inputs, targets = torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 5]])
    loss = trainer._loss(inputs, targets, torch.Generator().manual_seed(4))
    # An item without an event is taken for one with a single one.
    bias = weight * torch.log(torch.tensor([4, 2, 1, 1, 1, 1, 1, 1, 1]) / 8)
    states, items = model(inputs)[0], model.item_embedding.weight[1:]
    if not sampled:
        expected = nn.functional.cross_entropy(states @ items.T + bias, targets[0] - 1)
    else:
        assert trainer.sampler is not None
        drawn, log_q = trainer.sampler.draw(2_048, torch.Generator().manual_seed(4))
        wide = torch.cat([items, bias[:, None]], dim=1)
        of = torch.cat([states, torch.ones(3, 1)], dim=1)
        expected = sampled_softmax_loss(of, wide[targets[0] - 1], wide[drawn - 1], targets[0], drawn, log_q)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_without_a_weight_nothing_is_added() -> None:
    assert training_bias(np.array([0, 1, 2]), 0.0) is None
    assert TrainingSettings().loss == "softmax" and TrainingSettings().log_q_weight == 0.0


def test_scores_learned_with_log_q_are_free_of_popularity() -> None:
    q = torch.tensor([0.7, 0.2, 0.1])
    bias = training_bias(np.array([0, 7, 2, 1]), 1.0)
    assert bias is not None
    scores = nn.Parameter(torch.zeros(3))
    optimiser = torch.optim.LBFGS([scores], max_iter=50)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        each = [full_softmax_loss((scores + bias[1:])[None], torch.eye(3), torch.tensor([item])) for item in range(3)]
        value = (q * torch.stack(each)).sum()
        value.backward()
        return value

    optimiser.step(loss)
    assert torch.allclose(scores.detach(), scores.detach().mean().expand(3), atol=1e-3)


@pytest.mark.parametrize(
    ("hr", "ndcg", "passed"),
    [(0.239, 0.134, [True, True]), (0.2389, 0.13, [False, True]), (0.2501, 0.1341, [False, False]),
     (0.24, 0.1259, [True, False])],
)  # fmt: skip
def test_a_band_holds_its_ends(hr: float, ndcg: float, passed: list[bool]) -> None:
    checks = band_checks([constant(BCE, hr, ndcg), constant(CE, 0.318, 0.184)])
    assert [check["passed"] for check in checks] == [*passed, True, True]
    assert len(missed({"bands": checks})) == 2 - sum(passed)


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "within noise"), (0.5, "better"), (-0.5, "worse")])
def test_a_difference_counts_beyond_two_errors(shift: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    base = rng.random((400, 2))
    wobble = rng.normal(0, 0.1, (400, 2))
    found = differences(trained(OURS, (base + wobble - wobble.mean(axis=0) + shift).tolist()), trained(PEER, base.tolist()))
    assert [one.verdict for one in found] == [verdict] * 2
    assert [one.mean for one in found] == pytest.approx([shift] * 2)
    assert found[0].error == pytest.approx(wobble[:, 0].std(ddof=1) / 20)
    assert len(missed({"peer_differences": [one.to_json() for one in found]})) == (2 if shift < 0 else 0)


def test_training_learns_the_round(log: PreparedLog) -> None:
    budget = Budget(hidden_dim=16, layers=1, max_length=8, learning_rate=1e-2, batch_rows=8, epochs=40, patience=40, threads=1)
    row = train_ours(OURS, Split.of_log(log), budget, lambda _: None)
    assert row.figures[:, 1].mean() > 0.8 and row.best_epoch <= row.epochs == 40


def bench(log: PreparedLog, tmp_path: Path, *arguments: str) -> int:
    try:
        main(
            ["bench", "backbone", str(log.path), "--work", str(tmp_path / "work"), "--threads", "1", "--epochs", "1", *arguments]
        )
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


@pytest.fixture
def peer_like_ours(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stands for the peer, whose environment takes minutes to make: ours, its figures shifted."""

    def set_shift(shift: float) -> None:
        def train(split: Split, budget: Budget) -> Trained:
            row = train_ours(PEER, split, budget, lambda _: None)
            return replace(row, figures=row.figures + shift)

        monkeypatch.setattr(run, "train_peer", train)

    return set_shift


def test_all_rows_are_compared_and_found_again(
    log: PreparedLog, tmp_path: Path, peer_like_ours: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    peer_like_ours(0.0)
    assert bench(log, tmp_path, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in first["rows"]] == [OURS, PEER, NEUTRAL]
    assert [one["verdict"] for one in first["peer_differences"]] == ["within noise"] * 2
    assert {"command", "commit", "machine", "budget", "neutral_differences"} <= set(first)
    peer_like_ours(1.0)
    assert bench(log, tmp_path) == 0
    assert "within noise" in capsys.readouterr().out


def test_a_worse_model_of_ours_ends_with_3(
    log: PreparedLog, tmp_path: Path, peer_like_ours: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    peer_like_ours(0.1)
    assert bench(log, tmp_path) == 3
    shown = capsys.readouterr()
    assert "worse" in shown.out and "ours is 0.1000 below replay-rec" in shown.err


def test_published_figures_are_for_the_complete_log_alone(
    log: PreparedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(log, tmp_path, "--published") == 2
    assert "dynmm data fetch ml-1m" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"), [("--only", "bert4rec"), ("--epochs", "0"), ("--threads", "0"), ("--seed", "-1")]
)  # fmt: skip
def test_a_wrong_option_is_named(
    option: str, value: str, log: PreparedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(log, tmp_path, option, value) == 2
    assert option in capsys.readouterr().err
