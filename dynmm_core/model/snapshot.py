"""A copy of learned state on the device where it lies, to go back to when an update is rejected."""

import copy
from typing import Any

import torch
from torch import Tensor


class Snapshot:
    """What ``parts`` held when this was made."""

    def __init__(self, *parts: torch.nn.Module | torch.optim.Optimizer) -> None:
        self._kept: list[tuple[Any, dict[str, Any]]] = [(part, copy.deepcopy(part.state_dict())) for part in parts]

    def of(self, part: torch.nn.Module) -> dict[str, Tensor]:
        """What ``part`` held, by name."""
        return next(state for one, state in self._kept if one is part)

    def restore(self) -> None:
        """Put it back."""
        for part, state in self._kept:
            part.load_state_dict(state)
