"""Our SASRec on a leave-one-out split: epochs until validation stops improving, the best one is tested."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmarks.backbone.split import Requests, Split
from dynmm_core.metrics.ranking import METRICS, expected_metrics
from dynmm_core.model.pretraining import BackboneTrainer, TrainingSettings
from dynmm_core.model.ranking import rank_targets
from dynmm_core.model.sasrec import SASRec, encode_histories
from dynmm_core.randomness import torch_generator

Say = Callable[[str], None]
NDCG, HR = METRICS.index("ndcg@10"), METRICS.index("hr@10")


@dataclass(frozen=True)
class Budget:
    """Shape and training that all implementations share; ``batch_rows`` sequences of ``max_length`` make a batch.

    Training ends after ``epochs``, or when NDCG@10 on validation was not beaten for ``patience`` of them.
    """

    hidden_dim: int = 64
    layers: int = 2
    heads: int = 2
    max_length: int = 50
    dropout: float = 0.2
    learning_rate: float = 2e-3
    batch_rows: int = 48
    clip_norm: float = 5.0
    epochs: int = 12
    patience: int = 3
    seed: int = 0
    threads: int = 2

    def to_json(self) -> dict[str, Any]:
        """The budget as a document."""
        return asdict(self)


@dataclass(frozen=True)
class Trained:
    """One implementation, trained and tested: ``figures`` (n, 2) hold HR@10 and NDCG@10 of each test request."""

    name: str
    figures: np.ndarray
    epochs: int
    best_epoch: int
    validation: float
    seconds: float


def train_ours(name: str, split: Split, budget: Budget, say: Say, **settings: Any) -> Trained:
    """Train our SASRec; ``settings`` are further ones of :class:`TrainingSettings`."""
    begun = time.monotonic()
    torch.set_num_threads(budget.threads)
    model = SASRec(split.num_items, budget.hidden_dim, budget.layers, budget.heads, budget.max_length, budget.dropout)
    model.initialise(torch_generator(budget.seed, 0, "backbone"))
    told = TrainingSettings(
        learning_rate=budget.learning_rate, tokens_per_batch=budget.batch_rows * budget.max_length, clip_norm=budget.clip_norm
    )
    trainer = BackboneTrainer(model, split.train(), replace(told, **settings), budget.seed)
    validation = split.requests("validation", budget.max_length)
    best, best_epoch, epoch, weights = -1.0, 0, 0, model.state_dict()
    while epoch < budget.epochs and epoch - best_epoch < budget.patience:
        epoch += 1
        loss = trainer.run_epoch(epoch, lambda _: 1.0, lambda _: None)
        value = float(figures_of(model, validation)[:, 1].mean())
        say(f"{name}: epoch {epoch}, loss {loss:.3f}, validation NDCG@10 {value:.4f}")
        if value > best:
            best, best_epoch = value, epoch
            weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.load_state_dict(weights)
    tested = figures_of(model, split.requests("test", budget.max_length))
    return Trained(name, tested, epoch, best_epoch, best, time.monotonic() - begun)


def figures_of(model: SASRec, requests: Requests) -> np.ndarray:
    """HR@10 and NDCG@10 (n, 2) of each request, in full ranking without consumed items."""
    states = encode_histories(model, torch.from_numpy(requests.histories), torch.from_numpy(requests.lengths))
    items = model.item_embedding.weight.detach()
    ranks = rank_targets(states, items, requests.targets, requests.consumed_rows, requests.consumed_items)
    return expected_metrics(*ranks)[:, [HR, NDCG]]


def figures_of_lists(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """HR@10 and NDCG@10 (n, 2) of ranked lists (n, k), k at least 10, best first."""
    hit = lists == targets[:, None]
    better = np.where(hit.any(axis=1), hit.argmax(axis=1), -1)
    return expected_metrics(better, np.zeros(len(lists), np.int64))[:, [HR, NDCG]]
