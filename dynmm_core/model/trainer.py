"""The online trainer: a few steps of Eq. 3 per slide on the adapter alone, an average of its weights for serving."""

import copy
import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor

from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.averaging import average_into
from dynmm_core.model.consolidation import ElasticWeights, diagonal_fisher
from dynmm_core.model.devices import send
from dynmm_core.model.examples import Examples, KeptEvents, kept_losses, refreshed_items
from dynmm_core.model.guard import Attempt, Trial, settle
from dynmm_core.model.held_out import HeldOut, split_held_out
from dynmm_core.model.losses import bpr_rows, sampled_softmax_loss, stability_loss
from dynmm_core.model.online import OnlineSettings
from dynmm_core.model.reservoir import Reservoir
from dynmm_core.model.tensor_files import moments_of, put_moments, put_weights, save_files
from dynmm_core.randomness import torch_generator

FISHER_EVENTS = 64


class AdapterTrainer:
    """Learns the adapter slide by slide; its whole state goes to bytes and back.

    Args:
        adapter: freshly initialised weights; seed: names every draw together with the slide.
    """

    def __init__(self, adapter: OnlineAdapter, settings: OnlineSettings, seed: int) -> None:
        self.adapter, self.settings, self.seed = adapter, settings, seed
        self.serving = copy.deepcopy(adapter).requires_grad_(False)
        second = [] if adapter.second is None else list(adapter.second.parameters())
        sides = [one for one in adapter.parameters() if all(one is not other for other in second)]
        groups: list[dict[str, Any]] = [{"params": sides}]
        if second:
            groups.append({"params": second, "lr": settings.projector_lr})
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self._rates = [group["lr"] for group in self.optimiser.param_groups]
        self.updates = 0
        self.reservoir = Reservoir(settings.replay_capacity) if settings.replay_capacity else None
        self.elastic = ElasticWeights(adapter, settings.ewc_decay) if settings.ewc_weight else None
        self.held_out: HeldOut[KeptEvents] = HeldOut("held-out.safetensors", settings.held_out_events, KeptEvents)

    def learn(self, examples: Examples, slide_end_ms: int) -> bool:
        """Learn from one slide; return False if the update was rejected and all that was learned went back to before it."""
        return settle(self.attempt(examples, slide_end_ms))

    def attempt(self, examples: Examples, slide_end_ms: int) -> Attempt:
        """Learn from one slide without waiting for the device.

        Rejected is an update that leaves a loss or a weight not finite, that moves the weights further than
        ``max_step_rms``, or after which the held-out events of the last slides have a clearly higher loss.
        """
        if len(examples.positives) == 0 or self.settings.learning_rate == 0.0:
            return Attempt.none(examples.z_base.device)
        rows, held = self._held_back(examples, slide_end_ms)
        trial = Trial(
            self.adapter, [self.serving, self.optimiser], lambda kept: self._losses(kept, examples), self.held_out, held
        )
        updates = self.updates
        steps = self._steps(examples, rows, slide_end_ms) if len(rows) else []

        def forget() -> None:
            self.updates = updates

        return trial.attempt(steps, self._bound(), slide_end_ms, lambda: self._remember(examples, rows, slide_end_ms), forget)

    def _bound(self) -> float:
        # An infinite bound still refuses weights that are not finite.
        return self.settings.max_step_rms if self.settings.guard else float("inf")

    def _draws(self, slide_end_ms: int, purpose: str) -> torch.Generator:
        return torch_generator(self.seed, slide_end_ms, purpose)

    def _held_back(self, examples: Examples, slide_end_ms: int) -> tuple[Tensor, KeptEvents | None]:
        """Return the rows to learn from, and the events that are held out for the guard, None where there is no guard."""
        if not self.settings.guard:
            return torch.arange(len(examples.positives)), None
        generator = self._draws(slide_end_ms, "held-out")
        rows, held = split_held_out(len(examples.positives), self.settings.held_out_events, generator)
        return rows, KeptEvents.of(examples, held, self.settings.kept_negatives, generator)

    @torch.no_grad()
    def _losses(self, kept: KeptEvents, examples: Examples) -> Tensor:
        return kept_losses(self.adapter, kept, examples.z_base, examples.e_cf, self.settings.ranking)

    def _steps(self, examples: Examples, rows: Tensor, slide_end_ms: int) -> list[Tensor]:
        """Learn from ``rows`` in batches, each beside its share of rehearsed events; return the loss of each."""
        generator = self._draws(slide_end_ms, "learn")
        rows = rows[torch.randperm(len(rows), generator=generator)]
        # A large slide takes larger batches, not fewer of its events.
        batches = torch.split(rows, max(self.settings.batch_size, math.ceil(len(rows) / self.settings.max_steps)))
        rehearsed = self._rehearsed(len(rows), len(batches), slide_end_ms)
        return [self._step(examples, batch, kept, generator) for batch, kept in zip(batches, rehearsed, strict=True)]

    def _rehearsed(self, events: int, batches: int, slide_end_ms: int) -> list[KeptEvents | None]:
        drawn = None
        if self.reservoir is not None:
            wanted = math.ceil(events * self.settings.replay_share)
            drawn = self.reservoir.draw(wanted, self._draws(slide_end_ms, "rehearse"))
        if drawn is None:
            return [None] * batches
        return [drawn.rows(part) for part in torch.arange(len(drawn)).tensor_split(batches)]

    def _step(self, examples: Examples, rows: Tensor, kept: KeptEvents | None, generator: torch.Generator) -> Tensor:
        """Take one step and return its loss, which nobody has waited for."""
        loss = self._loss(examples, rows, kept, generator)
        if self.elastic is not None:
            loss = loss + self.settings.stability_weight * self.settings.ewc_weight * self.elastic.penalty(self.adapter)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), self.settings.clip_norm)
        # Adam's steps are as long whatever they are taken for: thin slides would move the weights as far as full ones.
        share = min(1.0, len(rows) / self.settings.batch_size) if self.settings.rate_by_share else 1.0
        for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        self.optimiser.step()
        self.updates += 1
        average_into(self.serving, self.adapter, self.updates, self.settings.ema_decay, warmup=self.settings.ema_warmup)
        return loss.detach()

    def _loss(self, examples: Examples, rows: Tensor, kept: KeptEvents | None, generator: torch.Generator) -> Tensor:
        """The sum of Eq. 3 over one batch, but for the weights' own term."""
        settings = self.settings
        drawn, log_q = examples.negatives.draw(settings.negatives, generator)
        positives, on = examples.positives[rows], examples.z_base.device
        # Found on the host, where the draws are made: a device would have to be asked how many there are.
        table, index = torch.unique(torch.cat([positives, drawn]), return_inverse=True)
        rows, table, index, positives = (send(one, on) for one in (rows, table, index, positives))
        z_base, e_cf = examples.z_base[table], examples.e_cf[table]
        z = refreshed_items(self.adapter, z_base, e_cf, examples.s_item[table], examples.active[table])
        h_base = examples.h_base[rows]
        h = self.adapter.user(h_base, examples.r_u[rows], examples.s_user[rows])
        positive, negative = index[: len(rows)], index[len(rows) :]
        if settings.ranking == "bpr":
            column = negative[torch.arange(len(rows), device=on) % len(negative)]
            same = column == positive
            loss = bpr_rows((h * z[positive]).sum(1), (h * z[column]).sum(1)[:, None], same[:, None]).mean()
        else:
            loss = sampled_softmax_loss(h, z[positive], z[negative], positives, send(drawn, on), send(log_q, on))
        if kept is not None and len(kept):
            rehearsed = kept_losses(self.adapter, kept, examples.z_base, examples.e_cf, settings.ranking).mean()
            loss = loss.lerp(rehearsed, len(kept) / (len(kept) + len(rows)))
        if settings.stability_weight:
            loss = loss + settings.stability_weight * (stability_loss(z, z_base) + stability_loss(h, h_base))
        if self.adapter.second is not None and examples.e_txt is not None:
            aligned, rebuilt = self.adapter.second.losses(z, e_cf, examples.e_txt[table])
            loss = loss + settings.align_weight * aligned + settings.recon_weight * rebuilt
        return loss

    def _remember(self, examples: Examples, rows: Tensor, slide_end_ms: int) -> None:
        """After an accepted update: what it taught goes into the replay buffer and the Fisher."""
        negatives = self.settings.kept_negatives
        if self.reservoir is not None:
            generator = self._draws(slide_end_ms, "reservoir")
            chosen, slots = self.reservoir.choose(len(rows), generator)
            self.reservoir.put(slots, KeptEvents.of(examples, rows[chosen], negatives, generator))
        if self.elastic is not None:
            generator = self._draws(slide_end_ms, "fisher")
            some = rows[torch.randperm(len(rows), generator=generator)[:FISHER_EVENTS]]
            kept = KeptEvents.of(examples, some, negatives, generator)
            losses = kept_losses(self.adapter, kept, examples.z_base, examples.e_cf, self.settings.ranking)
            self.elastic.consolidate(self.adapter, diagonal_fisher(losses, self.adapter))

    def to_bytes(self) -> dict[str, bytes]:
        """Return the complete state: weights and average, moments, updates, Fisher, replay buffer, held-out events."""
        state = {**self._learned_state(), **self.held_out.to_bytes()}
        if self.elastic is not None:
            state["ewc.safetensors"] = self.elastic.to_bytes()
        return {**state, **(self.reservoir.to_bytes() if self.reservoir is not None else {})}

    def from_bytes(self, state: dict[str, bytes]) -> None:
        """Restore what :meth:`to_bytes` returned."""
        self._restore(state)
        device = next(self.adapter.parameters()).device
        self.held_out.from_bytes(state, device)
        if self.elastic is not None:
            self.elastic.from_bytes(state["ewc.safetensors"])
        if self.reservoir is not None:
            self.reservoir.from_bytes(state, device)

    def _learned_state(self) -> dict[str, bytes]:
        """What the steps change; Fisher and replay buffer change only once they are accepted."""
        files: dict[str, Mapping[str, Tensor]] = {
            "adapter.safetensors": dict(self.adapter.named_parameters()),
            "serving.safetensors": dict(self.serving.named_parameters()),
            "optimiser.safetensors": moments_of(self.optimiser),
        }
        return {**save_files(files), "trainer.json": json.dumps({"updates": self.updates}).encode()}

    def _restore(self, state: dict[str, bytes]) -> None:
        put_weights(self.adapter, load_tensors(state["adapter.safetensors"]))
        put_weights(self.serving, load_tensors(state["serving.safetensors"]))
        put_moments(self.optimiser, load_tensors(state["optimiser.safetensors"]))
        self.updates = int(json.loads(state["trainer.json"])["updates"])
