"""Online elastic weight consolidation: weights that mattered for earlier slides are held where the last one left them."""

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from dynmm_core.model.devices import fetch


def diagonal_fisher(losses: Tensor, module: nn.Module) -> dict[str, Tensor]:
    """Return, by weight, the mean of the squared gradients of ``losses`` (n,), one gradient per event.

    The empirical Fisher information of the weights, its diagonal; zero for weights that no loss depends on.
    """
    names, weights = zip(*module.named_parameters(), strict=True)
    each = torch.eye(len(losses), dtype=losses.dtype, device=losses.device)
    gradients = torch.autograd.grad(losses, weights, grad_outputs=each, is_grads_batched=True, allow_unused=True)
    pairs = zip(names, weights, gradients, strict=True)
    return {name: torch.zeros_like(weight) if gradient is None else gradient.square().mean(0) for name, weight, gradient in pairs}


class ElasticWeights:
    """A running diagonal Fisher F ← decay · F + F_slide, and the weights after the last accepted slide as anchor θ*.

    Source: Kirkpatrick et al., 2017; its online form with a decay: Schwarz et al., 2018.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.fisher = {name: torch.zeros_like(weight) for name, weight in module.named_parameters()}
        self.anchor = {name: weight.detach().clone() for name, weight in module.named_parameters()}

    def penalty(self, module: nn.Module) -> Tensor:
        """Return Ω(θ) = ½ Σ F (θ − θ*)². ``Paper: Eq. (2)`` (Ω)."""
        terms = [(self.fisher[name] * (weight - self.anchor[name]).square()).sum() for name, weight in module.named_parameters()]
        return 0.5 * torch.stack(terms).sum()

    def consolidate(self, module: nn.Module, fisher: dict[str, Tensor]) -> None:
        """Take in the Fisher of an accepted slide and hold the weights where it left them."""
        self.fisher = {name: self.decay * self.fisher[name] + fisher[name].detach() for name in self.fisher}
        self.anchor = {name: weight.detach().clone() for name, weight in module.named_parameters()}

    def to_bytes(self) -> bytes:
        """Return Fisher and anchor."""
        named = {f"fisher.{name}": tensor for name, tensor in self.fisher.items()}
        return save_tensors(fetch({**named, **{f"anchor.{name}": tensor for name, tensor in self.anchor.items()}}))

    def from_bytes(self, state: bytes) -> None:
        """Restore what :meth:`to_bytes` returned."""
        found = load_tensors(state)
        self.fisher = {name: found[f"fisher.{name}"].to(tensor.device) for name, tensor in self.fisher.items()}
        self.anchor = {name: found[f"anchor.{name}"].to(tensor.device) for name, tensor in self.anchor.items()}
