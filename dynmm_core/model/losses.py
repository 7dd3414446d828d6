"""The losses of Eq. 2 and Eq. 3: ranking, stability in closed form, alignment and reconstruction of modalities."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def full_softmax_loss(states: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of ``targets`` under a softmax over all items.

    Args:
        states: (B, d) user states.
        items: (N, d) item vectors.
        targets: (B,) row of each positive in ``items``.
    """
    return F.cross_entropy(states @ items.T, targets)


class NegativeSampler:
    """Draws items with replacement by their probability, from sums that are made once; item 0 is padding, never drawn.

    Args:
        weights: (N + 1,) not negative and finite, need not add up to 1; where all are 0 nothing can be drawn.
    """

    def __init__(self, weights: np.ndarray) -> None:
        # Sums in double precision: in single, a share of a ten-millionth is lost beside a sum near 1.
        q = weights.astype(np.float64)
        q[0] = 0.0
        q /= max(q.sum(), np.finfo(float).tiny)
        self._q, self._cumulative = torch.from_numpy(q), torch.from_numpy(np.cumsum(q))

    @classmethod
    def of_counts(cls, counts: np.ndarray) -> "NegativeSampler":
        """Mix the uniform and the empirical distribution of ``counts`` (N + 1,) evenly; counts of padding are left out.

        The uniform half keeps rare items from being trained as positives only; the empirical half gives the hard negatives.
        """
        weights = counts.astype(np.float64)
        weights[0] = 0.0
        return cls(weights / max(weights.sum(), np.finfo(float).tiny) + 1.0 / max(len(counts) - 1, 1))

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw ``n`` items; return (items (n,), their log-probability (n,))."""
        points = torch.rand(n, generator=generator, dtype=torch.float64)
        items = torch.searchsorted(self._cumulative, points, right=True).clamp_(1, len(self._cumulative) - 1)
        return items, self._q[items].log().float()


def sampled_softmax_loss(
    states: Tensor, positives: Tensor, negatives: Tensor, positive_ids: Tensor, negative_ids: Tensor, negative_log_q: Tensor
) -> Tensor:
    """Return the mean sampled-softmax loss with the logQ correction, negatives shared by the batch.

    The partition sum is estimated by importance sampling, e^{s⁺} + (1/K) Σ_k e^{s_k} / q_k: negatives are
    shifted by -log(K q), the positive, which is present by construction, is not. A negative that equals the
    row's positive is masked. ``Paper: Eq. (3)`` (L_rank); correction: Bengio and Senécal, 2008.

    Args:
        states: (B, d); positives: (B, d) item vectors of the targets; negatives: (K, d).
        positive_ids: (B,); negative_ids: (K,) item indices, to find accidental hits.
        negative_log_q: (K,) log-probability of each negative under the sampler.
    """
    assert states.shape == positives.shape and negatives.shape[1] == states.shape[1]
    same = positive_ids[:, None] == negative_ids[None, :]
    return sampled_softmax_rows((states * positives).sum(1), states @ negatives.T, negative_log_q[None, :], same).mean()


def sampled_softmax_rows(positive: Tensor, negative: Tensor, log_q: Tensor, same: Tensor) -> Tensor:
    """Return the sampled-softmax loss of each row (n,) from scores; see :func:`sampled_softmax_loss`.

    Args:
        positive: (n,); negative: (n, k); log_q: (n, k) or (1, k) log-probability of each draw;
        same: (n, k) whether a negative is the row's positive.
    """
    negative = (negative - (log_q + math.log(negative.shape[1]))).masked_fill(same, float("-inf"))
    logits = torch.cat([positive[:, None], negative], dim=1)
    first = torch.zeros(len(positive), dtype=torch.long, device=positive.device)
    return F.cross_entropy(logits, first, reduction="none")


def bpr_loss(states: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Return the mean Bayesian personalised ranking loss of row-aligned ``positives`` and ``negatives``, each (B, d).

    ``Paper: Eq. (3)`` (L_rank, the alternative); source: Rendle et al., 2009.
    """
    positive, negative = (states * positives).sum(1), (states * negatives).sum(1)
    return bpr_rows(positive, negative[:, None], torch.zeros_like(negative[:, None], dtype=torch.bool)).mean()


def bpr_rows(positive: Tensor, negative: Tensor, same: Tensor) -> Tensor:
    """Return the BPR loss of each row (n,), a mean over its negatives; 0 for a row without any.

    Args:
        positive: (n,); negative: (n, k) scores; same: (n, k) whether a negative is the row's positive.
    """
    kept = (~same).to(negative.dtype)
    return (F.softplus(negative - positive[:, None]) * kept).sum(1) / kept.sum(1).clamp(min=1.0)


def bce_loss(states: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of row-aligned ``positives`` and one negative each, all (B, d).

    Source: Kang and McAuley, 2018; known to be weak, kept for comparison with published figures.
    """
    return (F.softplus(-(states * positives).sum(1)) + F.softplus((states * negatives).sum(1))).mean()


def stability_loss(latents: Tensor, base: Tensor, sigma: float = 1.0) -> Tensor:
    """Return the mean KL divergence between equal-covariance Gaussians around ``latents`` and ``base``, each (B, d).

    For N(z, σ²I) and N(z_base, σ²I) the divergence is ‖z − z_base‖² / (2σ²). ``Paper: Eq. (2)``, without the EWC term.
    """
    if sigma <= 0:
        raise ValueError(f"stability_loss: sigma is {sigma}; it must be above 0")
    return (latents - base).square().sum(1).mean() / (2.0 * sigma**2)


def alignment_loss(latents: Tensor, others: Tensor, present: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the symmetric InfoNCE between two modalities' latents of the same items, mean over those ``present`` in both.

    Cosine similarities over ``temperature``; the other items of the batch are the negatives; 0 where fewer than two items
    are present. ``Paper: Eq. (3)`` (L_align); source: van den Oord et al., 2018.

    Args:
        latents, others: (n, d); present: (n,) whether both modalities are there.
    """
    if present.device.type == "cpu":
        rows = present.nonzero().squeeze(1)
        if len(rows) < 2:
            return latents.sum() * 0.0
        similarity = F.normalize(latents[rows], dim=1) @ F.normalize(others[rows], dim=1).T / temperature
        own = torch.arange(len(rows))
        return 0.5 * (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own))
    return _masked_alignment(latents, others, present, temperature)


def _masked_alignment(latents: Tensor, others: Tensor, present: Tensor, temperature: float) -> Tensor:
    """The same with those who are not ``present`` masked: a device would have to be asked how many they are."""
    similarity = F.normalize(latents, dim=1) @ F.normalize(others, dim=1).T / temperature
    own = torch.arange(len(present), device=present.device)
    pairs = (present[:, None] & present) | (own[:, None] == own)
    similarity = similarity.masked_fill(~pairs, float("-inf"))
    both = [F.cross_entropy(one, own, reduction="none") for one in (similarity, similarity.T)]
    return 0.5 * torch.where(present, both[0] + both[1], 0.0).sum() / present.sum().clamp(min=1)


def reconstruction_loss(decoded: Tensor, features: Tensor, present: Tensor) -> Tensor:
    """Return ‖decoded − features/‖features‖‖² (n, f), mean over the items ``present`` (n,); 0 where there is none.

    ``Paper: Eq. (3)`` (L_recon, one modality).
    """
    errors = (decoded - F.normalize(features, dim=1)).square().sum(1)
    weight = present.to(errors.dtype)
    return (errors * weight).sum() / weight.sum().clamp(min=1.0)
