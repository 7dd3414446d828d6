"""The frozen base aligner: from the backbone's vectors (and text, where there is one) to the joint latents."""

import torch
from torch import Tensor, nn


class BaseAligner(nn.Module):
    """Maps e_cf and r_u to z_base and h_base; frozen once fitted.

    With collaborative vectors alone there is nothing to align: the map is the centred identity, cut to the
    leading principal directions where ``latent_dim`` is smaller than ``hidden_dim``. Centring items shifts
    every score of a user by the same amount, so it changes no ranking, and it gives the zero vector a
    meaning: an item that the base does not know scores like an average item.

    Args:
        hidden_dim: width of the backbone; latent_dim: width of the joint space, at most ``hidden_dim``.
    """

    centre: Tensor
    directions: Tensor

    def __init__(self, hidden_dim: int, latent_dim: int) -> None:
        super().__init__()
        if not 0 < latent_dim <= hidden_dim:
            raise ValueError(f"latent_dim: {latent_dim} must be between 1 and hidden_dim {hidden_dim}")
        self.register_buffer("centre", torch.zeros(hidden_dim))
        self.register_buffer("directions", torch.eye(hidden_dim)[:, :latent_dim].clone())

    @torch.no_grad()
    def fit(self, e_cf: Tensor) -> None:
        """Fit the centre and the directions on the known items' vectors ``e_cf`` (N, hidden_dim)."""
        self.centre.copy_(e_cf.mean(0))
        if self.directions.shape[1] < self.directions.shape[0]:
            _, _, rows = torch.linalg.svd(e_cf - self.centre, full_matrices=False)
            self.directions.copy_(rows[: self.directions.shape[1]].T)

    def align_items(self, e_cf: Tensor, e_txt: Tensor | None = None) -> Tensor:
        """Return z_base (N, latent_dim) of known items ``e_cf`` (N, hidden_dim).

        Args:
            e_txt: (N, text_dim) text vectors, the seam for a text encoder.

        Raises:
            ValueError: ``e_txt`` is given, but this aligner was fitted on collaborative vectors alone.
        """
        if e_txt is not None:
            raise ValueError("e_txt: this aligner was fitted without text; fit one with text, or leave e_txt out")
        z_base: Tensor = (e_cf - self.centre) @ self.directions
        return z_base

    def align_users(self, r_u: Tensor) -> Tensor:
        """Return h_base (B, latent_dim) of user states ``r_u`` (B, hidden_dim); the zero state stays zero."""
        h_base: Tensor = r_u @ self.directions
        return h_base
