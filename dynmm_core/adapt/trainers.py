"""What learns online: the adapter and the head, fresh or restored, as one."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dynmm_core.adapt.cpu_meter import ADAPTER, HEAD, CpuMeter
from dynmm_core.adapt.scoring import feature_count
from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.examples import Examples
from dynmm_core.model.features import DECAYS, HORIZONS_MS, ITEM_SUMMARY_DIM, USER_SUMMARY_DIM
from dynmm_core.model.guard import wait
from dynmm_core.model.head import REQUEST_STATE_DIM, OnlineHead
from dynmm_core.model.head_trainer import HeadExamples, HeadSettings, HeadTrainer
from dynmm_core.model.online import OnlineSettings
from dynmm_core.model.trainer import AdapterTrainer
from dynmm_core.randomness import torch_generator

PAIR_COLUMNS = 5
_START_WEIGHT = 0.3  # on every horizon's popularity: before it has learned, the head ranks by what is popular


@dataclass
class Learners:
    """The adapter of Eq. 1 with its trainer, and the head with its own."""

    adapter: AdapterTrainer
    head: HeadTrainer

    def learn(self, examples: Examples, of_head: HeadExamples | None, slide_end_ms: int, meter: CpuMeter) -> bool:
        """Learn from one slide, the head where it has examples; return whether every update was accepted.

        The device is waited for once, when both have nothing more to ask of it.
        """
        with meter.on(ADAPTER):
            attempts = {ADAPTER: self.adapter.attempt(examples, slide_end_ms)}
        if of_head is not None:
            with meter.on(HEAD):
                attempts[HEAD] = self.head.attempt(of_head, slide_end_ms)
        with meter.on(ADAPTER):
            verdicts = wait(list(attempts.values()))
        accepted = True
        for (part, attempt), told in zip(attempts.items(), verdicts, strict=True):
            with meter.on(part):
                accepted = attempt.conclude(told) and accepted
        return accepted

    def to_bytes(self) -> dict[str, bytes]:
        """Return the complete state of both."""
        return {**self.adapter.to_bytes(), **self.head.to_bytes()}

    def from_bytes(self, state: dict[str, bytes]) -> None:
        """Restore what :meth:`to_bytes` returned."""
        self.adapter.from_bytes(state)
        self.head.from_bytes(state)


def new_learners(
    base: FrozenBase, settings: OnlineSettings, seed: int, context_columns: int = 0, head: Mapping[str, Tensor] | None = None,
) -> Learners:  # fmt: skip
    """Return an adapter that leaves every base latent as it is, and a head, both drawn from ``seed``.

    Args:
        context_columns: how many columns of the log describe a request;
        head: weights that the head starts from; by default it ranks by popularity.
    """
    # Without a second modality its two losses are zero, and nothing is built for them.
    feature_dim = base.text_dim if settings.align_weight or settings.recon_weight else 0
    adapter = OnlineAdapter(
        base.hidden_dim, base.latent_dim, ITEM_SUMMARY_DIM, USER_SUMMARY_DIM, share=settings.share_adapter,
        gate_bias=settings.gate_bias, feature_dim=feature_dim,
    )  # fmt: skip
    adapter.initialise(torch_generator(seed, 0, "adapter"))
    features = feature_count(len(HORIZONS_MS), DECAYS, PAIR_COLUMNS, context_columns)
    started = OnlineHead(features, REQUEST_STATE_DIM)
    weight = torch.zeros(features)
    weight[: len(HORIZONS_MS)] = _START_WEIGHT
    started.initialise(weight, torch_generator(seed, 0, "head"))
    if head is not None:
        started.load_state_dict(dict(head))
    guarded = HeadSettings(guard=settings.guard, held_out_events=settings.held_out_events, max_step_rms=settings.max_step_rms)
    head_trainer = HeadTrainer(started.to(base.device), guarded, seed)
    return Learners(AdapterTrainer(adapter.to(base.device), settings, seed), head_trainer)
