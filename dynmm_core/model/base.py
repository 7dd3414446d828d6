"""The frozen base: backbone and aligner, with zero vectors for whatever they do not know."""

import numpy as np
import torch
from torch import Tensor

from dynmm_core.model.aligner import BaseAligner
from dynmm_core.model.sasrec import PADDING, SASRec, encode_histories


def with_room(table: Tensor, rows: int) -> Tensor:
    """Return ``table`` with ``rows`` rows or more, zero behind its end.

    It grows by an eighth: twice the table of ten million items would be 10 GB for a row.
    """
    more = max(rows, len(table) + max(len(table) // 8, 1_024)) - len(table)
    return torch.cat([table, table.new_zeros(more, table.shape[1])])


class FrozenBase:
    """Base vectors by ``item_idx`` and base states of histories; nothing in it learns.

    Args:
        backbone: trained SASRec, whose items are 1 … ``num_items``; it is frozen, its padding zero from here on.
        aligner: fitted on its item vectors.
        device: where the tables lie; e_txt: (m, text_dim) frozen text vectors of items 0 … m - 1, zero for an item without.
    """

    def __init__(
        self, backbone: SASRec, aligner: BaseAligner, device: torch.device, e_txt: Tensor | None = None
    ) -> None:  # fmt: skip
        self.backbone = backbone.to(device).eval().requires_grad_(False)
        self.aligner = aligner.to(device).requires_grad_(False)
        self.device = device
        self.num_items = backbone.num_items
        # The backbone's own table, not a copy: at ten million items each is 10 GB.
        e_cf = self.backbone.item_embedding.weight.detach()
        e_cf[PADDING] = 0.0
        z_base = self.aligner.align_items(e_cf)
        z_base[PADDING] = 0.0
        self._e_cf, self._z_base = e_cf, z_base
        self._e_txt = None if e_txt is None else e_txt.to(device)

    @property
    def hidden_dim(self) -> int:
        """Width of e_cf and r_u."""
        return self._e_cf.shape[1]

    @property
    def latent_dim(self) -> int:
        """Width of z and h."""
        return self._z_base.shape[1]

    @property
    def text_dim(self) -> int:
        """Width of the text vectors; 0 for a base without."""
        return 0 if self._e_txt is None else self._e_txt.shape[1]

    def item_text(self, num_items: int) -> Tensor | None:
        """Return e_txt of items 0 … num_items, zero for those without; None for a base without text."""
        if self._e_txt is None:
            return None
        missing = num_items + 1 - len(self._e_txt)
        if missing > 0:
            self._e_txt = torch.cat([self._e_txt, self._e_txt.new_zeros(missing, self.text_dim)])
        return self._e_txt[: num_items + 1]

    def item_tables(self, num_items: int) -> tuple[Tensor, Tensor]:
        """Return (e_cf, z_base) of items 0 … num_items, zero for padding and for items the base does not know."""
        if num_items >= len(self._e_cf):
            self._e_cf, self._z_base = (with_room(table, num_items + 1) for table in (self._e_cf, self._z_base))
        return self._e_cf[: num_items + 1], self._z_base[: num_items + 1]

    def user_states(self, recent: np.ndarray, recent_length: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return (r_u (n, hidden_dim), h_base (n, latent_dim)) of histories ``recent`` (n, max_length)."""
        histories = torch.from_numpy(np.ascontiguousarray(recent))
        r_u = encode_histories(self.backbone, histories, torch.from_numpy(recent_length))
        return r_u, self.aligner.align_users(r_u)
