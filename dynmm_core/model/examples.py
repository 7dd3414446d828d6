"""What the adapter learns from: a slide's events with the features of their time, and events that are kept beyond it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.devices import send
from dynmm_core.model.losses import NegativeSampler, bpr_rows, sampled_softmax_rows
from dynmm_core.model.online import Ranking
from dynmm_core.model.patched import PatchedRows


@dataclass(frozen=True)
class Examples:
    """The training events of one slide, in canonical order, with the features frozen at the end of the slide before.

    Users, one row per event: h_base (n, latent_dim), r_u (n, hidden_dim), s_user (n, user_summary_dim). Items, one row per
    ``item_idx`` of the catalogue at that moment: z_base (m, latent_dim), e_cf (m, hidden_dim), s_item (m, item_summary_dim),
    active (m,) whether Eq. 1 applies, negatives draws among them. positives (n,) are item indices. e_txt (m, text_dim)
    where the base has text, all zero for an item without.
    """

    h_base: Tensor
    r_u: Tensor
    s_user: Tensor
    z_base: Tensor
    e_cf: Tensor
    s_item: Tensor | PatchedRows
    active: Tensor
    positives: Tensor
    negatives: NegativeSampler
    e_txt: Tensor | None = None


@dataclass(frozen=True)
class KeptEvents:
    """Events with all that their loss needs later, as it was at their time; k negatives each.

    h_base, r_u, s_user as in Examples. The positive: positives (n,), z_base (n, latent_dim), e_cf (n, hidden_dim),
    s_positive (n, item_summary_dim), active_positive (n,). The negatives: negatives (n, k), s_negative
    (n, k, item_summary_dim), active_negative (n, k), log_q (n, k). Base vectors of negatives are looked up: an event of
    an item changes the base vectors that are folded in for it, and would show itself.
    """

    h_base: Tensor
    r_u: Tensor
    s_user: Tensor
    positives: Tensor
    z_base: Tensor
    e_cf: Tensor
    s_positive: Tensor
    active_positive: Tensor
    negatives: Tensor
    s_negative: Tensor
    active_negative: Tensor
    log_q: Tensor

    def __len__(self) -> int:
        return len(self.positives)

    @classmethod
    def of(cls, examples: Examples, rows: Tensor, negatives: int, generator: torch.Generator) -> "KeptEvents":
        """Keep ``rows`` (m,) of a slide, with ``negatives`` drawn for each."""
        on = examples.h_base.device
        of_draw = examples.negatives.draw(len(rows) * negatives, generator)
        drawn, log_q = (send(one.view(len(rows), negatives), on) for one in of_draw)
        rows, positives = send(rows, on), send(examples.positives[rows], on)
        return cls(
            examples.h_base[rows], examples.r_u[rows], examples.s_user[rows],
            positives, examples.z_base[positives], examples.e_cf[positives], examples.s_item[positives],
            examples.active[positives],
            drawn, examples.s_item[drawn], examples.active[drawn], log_q,
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence["KeptEvents"]) -> "KeptEvents":
        """All of ``parts``, of one width, one behind the other."""
        return cls(**{name: torch.cat([part.tensors()[name] for part in parts]) for name in parts[0].tensors()})

    def tensors(self) -> dict[str, Tensor]:
        """Every array by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def rows(self, rows: Tensor) -> "KeptEvents":
        """Those of ``rows`` (m,)."""
        rows = send(rows, self.positives.device)
        return KeptEvents(**{name: tensor[rows] for name, tensor in self.tensors().items()})

    def with_rows(self, rows: Tensor, others: "KeptEvents") -> "KeptEvents":
        """These, with ``others`` (m) in the place of ``rows`` (m,); a row behind the end is new."""
        size = max(len(self), int(rows.max()) + 1) if len(rows) else len(self)
        changed, rows = {}, send(rows, self.positives.device)
        for name, tensor in self.tensors().items():
            more = tensor.new_zeros(size - len(self), *tensor.shape[1:])
            changed[name] = torch.cat([tensor, more]).index_copy(0, rows, others.tensors()[name])
        return KeptEvents(**changed)


def refreshed_items(adapter: OnlineAdapter, z_base: Tensor, e_cf: Tensor, s_item: Tensor, active: Tensor) -> Tensor:
    """Return z (m, latent_dim): Eq. 1 where an item is ``active``, the base latent where nothing recent speaks of it."""
    return torch.where(active[:, None], adapter.item(z_base, e_cf, s_item), z_base)


def kept_losses(adapter: OnlineAdapter, kept: KeptEvents, z_base: Tensor, e_cf: Tensor, ranking: Ranking) -> Tensor:
    """Return L_rank of each kept event (n,) over its own negatives.

    Args:
        z_base: (m, latent_dim), e_cf: (m, hidden_dim) base vectors by item, for the negatives.
    """
    h = adapter.user(kept.h_base, kept.r_u, kept.s_user)
    positive = refreshed_items(adapter, kept.z_base, kept.e_cf, kept.s_positive, kept.active_positive)
    drawn = kept.negatives.flatten()
    negative = refreshed_items(
        adapter, z_base[drawn], e_cf[drawn], kept.s_negative.flatten(0, 1), kept.active_negative.flatten()
    ).view(*kept.negatives.shape, h.shape[1])
    scores = torch.bmm(negative, h[:, :, None]).squeeze(2)
    same = kept.negatives == kept.positives[:, None]
    if ranking == "bpr":
        return bpr_rows((h * positive).sum(1), scores, same)
    return sampled_softmax_rows((h * positive).sum(1), scores, kept.log_q, same)
