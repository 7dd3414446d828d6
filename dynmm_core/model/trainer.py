"""The online trainer: a few ranking steps per slide on the adapter alone, an average of its weights for serving."""

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.averaging import average_into
from dynmm_core.model.losses import sampled_softmax_loss, stability_loss
from dynmm_core.model.patched import PatchedRows
from dynmm_core.model.snapshot import Snapshot, all_finite
from dynmm_core.randomness import torch_generator

Regulariser = Callable[[OnlineAdapter], Tensor]


@dataclass(frozen=True)
class Examples:
    """The training events of one slide, in canonical order, with the features frozen at the end of the slide before.

    Users, one row per event: h_base (n, latent_dim), r_u (n, hidden_dim), s_user (n, user_summary_dim). Items, one row per
    ``item_idx`` of the catalogue at that moment: z_base (m, latent_dim), e_cf (m, hidden_dim), s_item (m, item_summary_dim),
    active (m,) whether Eq. 1 applies, negative_q (m,) the probability of being drawn as a negative, 0 for padding.
    positives (n,) are item indices.
    """

    h_base: Tensor
    r_u: Tensor
    s_user: Tensor
    z_base: Tensor
    e_cf: Tensor
    s_item: Tensor | PatchedRows
    active: Tensor
    positives: Tensor
    negative_q: Tensor


@dataclass(frozen=True)
class OnlineSettings:
    """How the adapter learns online; chosen on the pre-training tail where it says so.

    learning_rate and stability_weight (λ_s) are chosen; batch_size, max_steps, negatives, clip_norm, ema_decay fixed.
    A slide is learned from whole: in batches of batch_size, or larger ones where that would take more than max_steps.
    """

    learning_rate: float
    stability_weight: float
    batch_size: int = 256
    max_steps: int = 16
    negatives: int = 512
    clip_norm: float = 1.0
    ema_decay: float = 0.99


def refreshed_items(adapter: OnlineAdapter, z_base: Tensor, e_cf: Tensor, s_item: Tensor, active: Tensor) -> Tensor:
    """Return z (m, latent_dim): Eq. 1 where an item is ``active``, the base latent where nothing recent speaks of it."""
    return torch.where(active[:, None], adapter.item(z_base, e_cf, s_item), z_base)


class AdapterTrainer:
    """Learns the adapter slide by slide; its whole state goes to bytes and back.

    Args:
        adapter: freshly initialised weights; seed: names every draw together with the slide;
        regularisers: further terms on the weights, the seam for elastic weight consolidation.
    """

    def __init__(
        self, adapter: OnlineAdapter, settings: OnlineSettings, seed: int, regularisers: tuple[Regulariser, ...] = ()
    ) -> None:
        self.adapter, self.settings, self.seed, self.regularisers = adapter, settings, seed, regularisers
        self.serving = copy.deepcopy(adapter).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(adapter.parameters(), lr=settings.learning_rate, weight_decay=0.0)
        self.updates = 0

    def learn(self, examples: Examples, slide_end_ms: int, rehearsed: Sequence[Examples] = ()) -> bool:
        """Learn from one slide; return False if the update was rejected and everything went back to before it.

        An update is rejected when a loss or a weight is not finite.

        Args:
            rehearsed: earlier examples with the features of their own time, learned from after the new ones; the seam
                for a replay buffer.
        """
        if len(examples.positives) == 0 or self.settings.learning_rate == 0.0:
            return True
        before, updates = Snapshot(self.adapter, self.serving, self.optimiser), self.updates
        generator = torch_generator(self.seed, slide_end_ms, "learn")
        losses: list[Tensor] = []
        for part in (examples, *rehearsed):
            order = torch.randperm(len(part.positives), generator=generator)
            # A large slide takes larger batches, not fewer of its events.
            size = max(self.settings.batch_size, math.ceil(len(order) / self.settings.max_steps))
            losses += [self._step(part, rows, generator) for rows in torch.split(order, size)]
        if all_finite(losses, self.adapter):
            return True
        before.restore()
        self.updates = updates
        return False

    def _step(self, examples: Examples, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Take one step and return its loss, which nobody has waited for."""
        drawn = torch.multinomial(examples.negative_q, self.settings.negatives, replacement=True, generator=generator)
        table, index = torch.unique(torch.cat([examples.positives[rows], drawn]), return_inverse=True)
        z_base = examples.z_base[table]
        z = refreshed_items(self.adapter, z_base, examples.e_cf[table], examples.s_item[table], examples.active[table])
        h_base = examples.h_base[rows]
        h = self.adapter.user(h_base, examples.r_u[rows], examples.s_user[rows])
        positive, negative = index[: len(rows)], index[len(rows) :]
        log_q = examples.negative_q[drawn].log().to(h.device)
        positive_ids, negative_ids = examples.positives[rows].to(h.device), drawn.to(h.device)
        loss = sampled_softmax_loss(h, z[positive], z[negative], positive_ids, negative_ids, log_q)
        if self.settings.stability_weight:
            loss = loss + self.settings.stability_weight * (stability_loss(z, z_base) + stability_loss(h, h_base))
        for regulariser in self.regularisers:
            loss = loss + regulariser(self.adapter)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        self.updates += 1
        average_into(self.serving, self.adapter, self.updates, self.settings.ema_decay)
        return loss.detach()

    def to_bytes(self) -> dict[str, bytes]:
        """Return the complete state: raw and averaged weights, optimiser moments, number of updates."""
        moments: dict[str, Tensor] = {}
        for index, state in self.optimiser.state_dict()["state"].items():
            moments |= {f"{index}.{name}": value.contiguous() for name, value in state.items()}
        return {
            "adapter.safetensors": save_tensors(_contiguous(self.adapter)),
            "serving.safetensors": save_tensors(_contiguous(self.serving)),
            "optimiser.safetensors": save_tensors(moments),
            "trainer.json": json.dumps({"updates": self.updates}).encode(),
        }

    def from_bytes(self, state: dict[str, bytes]) -> None:
        """Restore what :meth:`to_bytes` returned."""
        self.adapter.load_state_dict(load_tensors(state["adapter.safetensors"]))
        self.serving.load_state_dict(load_tensors(state["serving.safetensors"]))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in load_tensors(state["optimiser.safetensors"]).items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.updates = int(json.loads(state["trainer.json"])["updates"])


def _contiguous(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
