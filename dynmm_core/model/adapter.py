"""The online adapter of Eq. 1: a gated two-layer MLP on top of frozen base latents, for items and for users."""

import math

import torch
from torch import Tensor, nn

GATE_BIAS = -2.0


class GatedAdapter(nn.Module):
    """One side of Eq. 1: latent = base + gate · g_Δ(e, s).

    ``Paper: Eq. (1)``: g_Δ(x) = W₂ ReLU(W₁ x + b₁) + b₂ on x = [e; s], gate = σ(wᵀ[e; s] + b). W₂ and b₂ start
    at zero, so that the latent equals the base before the first update; the gate starts nearly closed.

    Args:
        hidden_dim: width of e; summary_dim: width of s; latent_dim: width of the output.
    """

    def __init__(self, hidden_dim: int, summary_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(hidden_dim + summary_dim, latent_dim)
        self.w2 = nn.Linear(latent_dim, latent_dim)
        self.gate = nn.Linear(hidden_dim + summary_dim, 1)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw W₁ and w from ``generator``; zero W₂ and b₂; open the gate to σ(GATE_BIAS)."""
        with torch.no_grad():
            bound = 1.0 / math.sqrt(self.w1.in_features)
            self.w1.weight.uniform_(-bound, bound, generator=generator)
            self.w1.bias.zero_()
            self.w2.weight.zero_()
            self.w2.bias.zero_()
            self.gate.weight.uniform_(-bound, bound, generator=generator).mul_(0.1)
            self.gate.bias.fill_(GATE_BIAS)

    def forward(self, base: Tensor, e: Tensor, s: Tensor) -> Tensor:
        """Return the refreshed latents (B, latent_dim).

        Args:
            base: (B, latent_dim) z_base or h_base; e: (B, hidden_dim) e_cf or r_u; s: (B, summary_dim) s_new.
        """
        x = torch.cat([e, s], dim=1)
        gate = torch.sigmoid(self.gate(x))
        delta = self.w2(torch.relu(self.w1(x)))
        refreshed: Tensor = base + gate * delta
        return refreshed


class OnlineAdapter(nn.Module):
    """The item side and the user side of Eq. 1.

    ``Paper: Eq. (1)``. The paper writes one g_Δ for both; the sides see different summaries, so each has
    weights of its own.
    """

    def __init__(self, hidden_dim: int, latent_dim: int, item_summary_dim: int, user_summary_dim: int) -> None:
        super().__init__()
        self.item = GatedAdapter(hidden_dim, item_summary_dim, latent_dim)
        self.user = GatedAdapter(hidden_dim, user_summary_dim, latent_dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw both sides' weights from ``generator``."""
        self.item.initialise(generator)
        self.user.initialise(generator)
