"""Fine-tuning: every weight of the backbone learns from every slide, and from earlier events that it rehearses."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dynmm_core.baselines.contract import Facts
from dynmm_core.baselines.costly.sequence_model import SequenceModel, all_finite
from dynmm_core.baselines.costly.training_rows import TrainingRows
from dynmm_core.evidence.recents import Recents
from dynmm_core.model.losses import NegativeSampler, full_softmax_loss, sampled_softmax_loss
from dynmm_core.model.pretraining import FULL_SOFTMAX_UP_TO
from dynmm_core.model.sasrec import SASRec
from dynmm_core.randomness import derive_seed, torch_generator

REMEMBERED_ROWS = 100_000
TOKENS_PER_BATCH = 2_400
NEGATIVES = 2_048
CLIP_NORM = 5.0
BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class FineTuneSettings:
    """learning_rate: of AdamW; rehearsed: earlier rows per new row, drawn from the newest ``REMEMBERED_ROWS``; half_life_ms: of
    the popularity that ranks where there is no history."""

    learning_rate: float
    rehearsed: int
    half_life_ms: int


class FineTune(SequenceModel):
    """One pass over each slide and the rehearsed rows, with the loss of the pre-training; the optimiser's moments stay.

    A slide after which a weight is not finite is undone, and the optimiser starts anew.
    """

    def __init__(self, backbone: SASRec, settings: FineTuneSettings, seed: int) -> None:
        super().__init__(backbone, settings.half_life_ms, seed)
        self.settings = settings
        self.optimiser = self._optimiser()
        self._past: list[TrainingRows] = []
        self._counts = np.zeros(1, np.int64)

    def _optimiser(self) -> torch.optim.AdamW:
        rate = self.settings.learning_rate
        return torch.optim.AdamW(self.model.parameters(), lr=rate, betas=BETAS, weight_decay=0.0, fused=True)

    def replace_table(self, old: nn.Embedding, new: nn.Embedding) -> None:
        """Carry the moments of the old rows over; new rows begin without."""
        weight = new.weight
        for group in self.optimiser.param_groups:
            group["params"] = [weight if one is old.weight else one for one in group["params"]]
        state = self.optimiser.state.pop(old.weight, None)
        if state is not None:
            for name in ("exp_avg", "exp_avg_sq"):
                grown = torch.zeros_like(weight)
                grown[: old.num_embeddings] = state[name]
                state[name] = grown
            self.optimiser.state[weight] = state

    def take_in(self, facts: Facts, before: Recents) -> None:
        """Learn from the slide and remember its rows."""
        grown = np.zeros(self.model.num_items + 1, np.int64)
        grown[: len(self._counts)] = self._counts
        self._counts = grown + np.bincount(facts.item_idx, minlength=len(grown))
        rows = TrainingRows.of(facts.user_idx, facts.item_idx, before, self.model.max_length)
        if self.live and len(rows):
            self._learn(rows, facts.slide_end_ms)
        self._past.append(rows)
        while len(self._past) > 1 and sum(map(len, self._past[1:])) >= REMEMBERED_ROWS:
            self._past.pop(0)

    def _learn(self, rows: TrainingRows, slide_end_ms: int) -> None:
        rng = np.random.Generator(np.random.Philox(derive_seed(self.seed, slide_end_ms, "fine-tune")))
        generator = torch_generator(self.seed, slide_end_ms, "fine-tune")
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        sampler = None if self.model.num_items <= FULL_SOFTMAX_UP_TO else NegativeSampler.of_counts(self._counts)
        self.model.train()
        for inputs, targets in rows.then(self._rehearsed(len(rows), rng)).batches(TOKENS_PER_BATCH, rng):
            # Dropout has no generator argument: it is tied to the draw's name through the global one.
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            loss = self._loss(inputs, targets, sampler, generator)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.model.eval()
        if not all_finite(self.model):
            self.model.load_state_dict(before)
            self.optimiser = self._optimiser()

    def _loss(self, inputs: Tensor, targets: Tensor, sampler: NegativeSampler | None, generator: torch.Generator) -> Tensor:
        weight = self.model.item_embedding.weight
        keep = targets > 0
        states, target = self.model(inputs)[keep], targets[keep]
        if sampler is None:
            return full_softmax_loss(states, weight[1:], target - 1)
        negatives, log_q = sampler.draw(NEGATIVES, generator)
        return sampled_softmax_loss(states, weight[target], weight[negatives], target, negatives, log_q)

    def _rehearsed(self, new: int, rng: np.random.Generator) -> TrainingRows:
        """Draw earlier rows, ``settings.rehearsed`` times as many as there are new ones, all equally likely."""
        edges = np.cumsum([0, *map(len, self._past)])
        drawn = TrainingRows.none(self.model.max_length)
        if edges[-1] == 0 or self.settings.rehearsed == 0:
            return drawn
        at = np.sort(rng.integers(0, edges[-1], self.settings.rehearsed * new))
        part = np.searchsorted(edges, at, "right") - 1
        for number in np.unique(part):
            drawn = drawn.then(self._past[number].take(at[part == number] - edges[number]))
        return drawn
