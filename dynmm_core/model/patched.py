"""A table with some of its rows replaced, without a copy of the others."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dynmm_core.model.devices import send


@dataclass(frozen=True)
class PatchedRows:
    """Row i is ``values[k]`` where ``rows[k]`` is i, else that of ``under``, or zero where ``under`` is only a length.

    Making one and reading from it costs what is replaced and read, whatever the table's size.

    Args:
        under: (n, d), or n; rows: (m,) int64, rising; values: (m, d), on one device with the others.
    """

    under: Tensor | int
    rows: Tensor
    values: Tensor

    def __len__(self) -> int:
        return self.under if isinstance(self.under, int) else len(self.under)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the rows (…, d) at ``index`` (…)."""
        index = send(index, self.rows.device)
        under = self.under
        below = self.values.new_zeros(*index.shape, self.values.shape[1]) if isinstance(under, int) else under[index]
        if not len(self.rows):
            return below
        at = torch.searchsorted(self.rows, index).clamp_(max=len(self.rows) - 1)
        return torch.where((self.rows[at] == index)[..., None], self.values[at], below)

    @cached_property
    def whole(self) -> Tensor:
        """The table (n, d) as one tensor, copied when it is first asked for."""
        table = self.values.new_zeros(self.under, self.values.shape[1]) if isinstance(self.under, int) else self.under.clone()
        table[self.rows] = self.values
        return table
