"""The online adapter of Eq. 1: a gated two-layer MLP on top of frozen base latents, for items and for users."""

import math

import torch
from torch import Tensor, nn

from dynmm_core.model.second_modality import SecondModality

GATE_BIAS = -2.0


class GatedAdapter(nn.Module):
    """One side of Eq. 1: latent = base + gate · g_Δ(e, s).

    ``Paper: Eq. (1)``: g_Δ(x) = W₂ ReLU(W₁ x + b₁) + b₂ on x = [e; s], gate = σ(wᵀ[e; s] + b). W₂ and b₂ start
    at zero, so that the latent equals the base before the first update; the gate starts nearly closed.

    Args:
        hidden_dim: width of e; summary_dim: width of s, a narrower one is filled up with zeros; latent_dim: width of the
        output; gate_bias: False leaves b out, and the gate starts half open.
    """

    def __init__(self, hidden_dim: int, summary_dim: int, latent_dim: int, *, gate_bias: bool = True) -> None:
        super().__init__()
        self.w1 = nn.Linear(hidden_dim + summary_dim, latent_dim)
        self.w2 = nn.Linear(latent_dim, latent_dim)
        self.gate = nn.Linear(hidden_dim + summary_dim, 1, bias=gate_bias)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw W₁ and w from ``generator``; zero W₂ and b₂; open the gate to σ(GATE_BIAS)."""
        with torch.no_grad():
            bound = 1.0 / math.sqrt(self.w1.in_features)
            self.w1.weight.uniform_(-bound, bound, generator=generator)
            self.w1.bias.zero_()
            self.w2.weight.zero_()
            self.w2.bias.zero_()
            self.gate.weight.uniform_(-bound, bound, generator=generator).mul_(0.1)
            if self.gate.bias is not None:
                self.gate.bias.fill_(GATE_BIAS)

    def forward(self, base: Tensor, e: Tensor, s: Tensor) -> Tensor:
        """Return the refreshed latents (B, latent_dim).

        Args:
            base: (B, latent_dim) z_base or h_base; e: (B, hidden_dim) e_cf or r_u; s: (B, summary_dim) s_new.
        """
        missing = self.w1.in_features - e.shape[1] - s.shape[1]
        x = torch.cat([e, s, s.new_zeros(len(s), missing)] if missing else [e, s], dim=1)
        gate = torch.sigmoid(self.gate(x))
        delta = self.w2(torch.relu(self.w1(x)))
        refreshed: Tensor = base + gate * delta
        return refreshed


class OnlineAdapter(nn.Module):
    """The item side and the user side of Eq. 1, and the second modality's weights where the base has one.

    ``Paper: Eq. (1)``. The paper writes one g_Δ for both; the sides see different summaries, so each has
    weights of its own, unless ``share`` has them use one. The gates α and β are two in any case.

    Args:
        share: one g_Δ for both sides; gate_bias: see GatedAdapter; feature_dim: width of the second modality, 0 for none.
    """

    def __init__(
        self, hidden_dim: int, latent_dim: int, item_summary_dim: int, user_summary_dim: int, *, share: bool = False,
        gate_bias: bool = True, feature_dim: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        widest = max(item_summary_dim, user_summary_dim)
        self.item = GatedAdapter(hidden_dim, widest if share else item_summary_dim, latent_dim, gate_bias=gate_bias)
        self.user = GatedAdapter(hidden_dim, widest if share else user_summary_dim, latent_dim, gate_bias=gate_bias)
        if share:
            self.user.w1, self.user.w2 = self.item.w1, self.item.w2
        self.second = SecondModality(feature_dim, hidden_dim, latent_dim) if feature_dim else None

    def initialise(self, generator: torch.Generator) -> None:
        """Draw both sides' weights from ``generator``."""
        self.item.initialise(generator)
        self.user.initialise(generator)
        if self.second is not None:
            self.second.initialise(generator)
