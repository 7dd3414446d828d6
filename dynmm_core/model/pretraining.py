"""The training loop of the backbone: sequences by length, full or sampled softmax, AdamW."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dynmm_core.model.losses import NegativeSampler, bce_loss, full_softmax_loss, sampled_softmax_loss
from dynmm_core.model.sasrec import SASRec
from dynmm_core.randomness import torch_generator

FULL_SOFTMAX_UP_TO = 10_000


@dataclass(frozen=True)
class Sequences:
    """The events of a log, grouped by user, in time order.

    ``items`` (n,) holds item indices; the events of user k are ``items[starts[k]:starts[k + 1]]``.
    """

    items: np.ndarray
    starts: np.ndarray

    @classmethod
    def from_events(cls, user_idx: np.ndarray, item_idx: np.ndarray) -> "Sequences":
        """Group events, given in canonical order, by user."""
        order = np.argsort(user_idx, kind="stable")
        users = user_idx[order]
        starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
        return cls(item_idx[order].astype(np.int64), np.r_[starts, len(users)].astype(np.int64))


@dataclass(frozen=True)
class TrainingSettings:
    """How the backbone is trained; ``tokens_per_batch`` counts padded positions.

    loss: softmax over all items or many, or binary cross-entropy with one negative, drawn uniformly; log_q_weight: this many
    times log q, q an item's share of the training events, is added to its score in training alone. At 1 the scores
    learned are free of popularity: what a softmax over s + log q fits is s = log(p / q). At -1 they hold it twice.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    tokens_per_batch: int = 2_400
    negatives: int = 2_048
    warm_up_steps: int = 100
    clip_norm: float = 5.0
    loss: Literal["softmax", "bce"] = "softmax"
    log_q_weight: float = 0.0


def cut_chunks(sequences: Sequences, max_length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut every user's events into chunks of at most ``max_length + 1`` that overlap by one event.

    The first cut of a long history is drawn anew each epoch, so that every event is sometimes
    predicted from a full history. Returns (first, length) of each chunk, length at least 2.
    """
    counts = np.diff(sequences.starts)
    firsts, lengths = [], []
    short = (counts >= 2) & (counts <= max_length + 1)
    firsts.append(sequences.starts[:-1][short])
    lengths.append(counts[short])
    for user in np.flatnonzero(counts > max_length + 1):
        offset = int(rng.integers(1, max_length + 1))
        edges = np.r_[0, np.arange(offset, counts[user] - 1, max_length), counts[user] - 1]
        firsts.append(sequences.starts[user] + edges[:-1])
        lengths.append(np.diff(edges) + 1)
    return np.concatenate(firsts), np.concatenate(lengths)


def batches(sequences: Sequences, max_length: int, tokens: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (inputs, targets), each (B, L) padded on the right with 0, in random order, of like lengths."""
    firsts, lengths = cut_chunks(sequences, max_length, rng)
    shuffled = rng.permutation(len(firsts))
    by_length = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    widths = lengths[by_length] - 1
    groups, start = [], 0
    while start < len(by_length):
        end = start + max(1, tokens // int(widths[min(start + tokens // int(widths[start]), len(widths)) - 1]))
        groups.append(by_length[start:end])
        start = end
    for g in rng.permutation(len(groups)):
        rows = groups[g]
        width = int(lengths[rows].max()) - 1
        columns = np.arange(width + 1)
        inside = columns < lengths[rows][:, None]
        chunk = np.where(inside, sequences.items[np.minimum(firsts[rows][:, None] + columns, len(sequences.items) - 1)], 0)
        yield torch.from_numpy(np.where(inside[:, 1:], chunk[:, :-1], 0)), torch.from_numpy(chunk[:, 1:])


def training_bias(counts: np.ndarray, log_q_weight: float) -> Tensor | None:
    """Return what training adds to each item's score (num_items + 1,), None if nothing; a count of 0 is taken for 1."""
    if log_q_weight == 0.0:
        return None
    bias = log_q_weight * np.log(np.maximum(counts, 1) / max(1, counts[1:].sum()))
    bias[0] = 0.0
    return torch.from_numpy(bias).float()


def other_items(targets: Tensor, num_items: int, generator: torch.Generator) -> Tensor:
    """Draw for each of ``targets`` (n,) one of the other items 1 … ``num_items``, at least 2, all equally likely."""
    drawn = torch.randint(1, num_items, targets.shape, generator=generator)
    return drawn + (drawn >= targets)


class BackboneTrainer:
    """Trains a SASRec epoch by epoch; the same seed gives the same weights on the same machine."""

    def __init__(self, model: SASRec, sequences: Sequences, settings: TrainingSettings, seed: int) -> None:
        self.model, self.sequences, self.settings, self.seed = model, sequences, settings, seed
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
        )
        self.step = 0
        counts = np.bincount(sequences.items, minlength=model.num_items + 1)[: model.num_items + 1]
        self.sampler = None if model.num_items <= FULL_SOFTMAX_UP_TO else NegativeSampler.of_counts(counts)
        self.bias = training_bias(counts, settings.log_q_weight)

    def run_epoch(self, epoch: int, scale: Callable[[float], float], advance: Callable[[int], None]) -> float:
        """Train one pass and return the mean loss per event.

        Args:
            epoch: names the random draws of this pass.
            scale: maps progress through the epoch, in [0, 1], to a factor on the learning rate.
            advance: called with the number of events after each step.
        """
        rng = np.random.default_rng([self.seed, epoch])
        generator = torch_generator(self.seed, epoch, "pretrain")
        self.model.train()
        total, events = 0.0, 0
        goal = max(1, len(self.sequences.items))
        for inputs, targets in batches(self.sequences, self.model.max_length, self.settings.tokens_per_batch, rng):
            # Dropout has no generator argument: it is tied to (seed, epoch, step) through the global one.
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            warm = min(1.0, (self.step + 1) / self.settings.warm_up_steps)
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.learning_rate * warm * scale(min(1.0, events / goal))
            loss = self._loss(inputs, targets, generator)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
            self.optimiser.step()
            n = int((targets > 0).sum())
            total, events, self.step = total + float(loss.detach()) * n, events + n, self.step + 1
            advance(n)
        self.model.eval()
        return total / max(1, events)

    def _loss(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
        weight = self.model.item_embedding.weight
        inputs, targets = inputs.to(weight.device), targets.to(weight.device)
        keep = targets > 0
        states, target = self.model(inputs)[keep], targets[keep]
        if self.bias is not None:
            # One more coordinate, 1 for every state, adds the bias to every score of every loss.
            states = torch.cat([states, states.new_ones(len(states), 1)], dim=1)
            weight = torch.cat([weight, self.bias.to(weight.device)[:, None]], dim=1)
        if self.settings.loss == "bce":
            others = other_items(target.cpu(), self.model.num_items, generator).to(weight.device)
            return bce_loss(states, weight[target], weight[others])
        if self.sampler is None:
            return full_softmax_loss(states, weight[1:], target - 1)
        negatives, log_q = (drawn.to(weight.device) for drawn in self.sampler.draw(self.settings.negatives, generator))
        return sampled_softmax_loss(states, weight[target], weight[negatives], target, negatives, log_q)
