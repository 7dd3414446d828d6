"""The second modality of an item, such as text, beside the collaborative vectors: a projector, and decoders of both."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynmm_core.model.losses import alignment_loss, reconstruction_loss


class SecondModality(nn.Module):
    """Maps features of a second modality into the joint space, and the joint latent back to the features of both.

    Args:
        feature_dim: width of the second modality's features; hidden_dim: width of e_cf; latent_dim: of z.
    """

    def __init__(self, feature_dim: int, hidden_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.projector = nn.Linear(feature_dim, latent_dim)
        self.decode_cf = nn.Linear(latent_dim, hidden_dim)
        self.decode_features = nn.Linear(latent_dim, feature_dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every matrix from ``generator``; the biases are zero."""
        with torch.no_grad():
            for layer in (self.projector, self.decode_cf, self.decode_features):
                bound = 1.0 / layer.in_features**0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.zero_()

    def losses(self, z: Tensor, e_cf: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return (L_align, L_recon) of items z (n, latent_dim), e_cf (n, hidden_dim), features (n, feature_dim).

        A row of zeros stands for a modality that is not there, and adds nothing to either. ``Paper: Eq. (3)`` (L_align and
        L_recon over both modalities).
        """
        has_cf, has_features = e_cf.any(1), features.any(1)
        aligned = alignment_loss(z, self.projector(F.normalize(features, dim=1)), has_cf & has_features)
        rebuilt = reconstruction_loss(self.decode_cf(z), e_cf, has_cf)
        return aligned, rebuilt + reconstruction_loss(self.decode_features(z), features, has_features)
