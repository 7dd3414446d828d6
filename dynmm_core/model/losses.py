"""The losses of Eq. 2 and Eq. 3: ranking by full or sampled softmax, stability in closed form."""

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


class LogQSampler:
    """Draws negatives from an even mix of the uniform and the empirical item distribution.

    The uniform half keeps rare items from being trained as positives only; the empirical half gives the
    hard negatives. ``log_q`` (N + 1,) is the log-probability of each item under the mix; item 0 is padding.
    """

    def __init__(self, counts: np.ndarray) -> None:
        if counts[1:].sum() <= 0:
            raise ValueError("LogQSampler: counts are all zero; give it at least one observed item")
        weights = counts.astype(np.float64).copy()
        weights[0] = 0.0
        q = 0.5 * weights / weights.sum()
        q[1:] += 0.5 / (len(counts) - 1)
        self._cumulative = torch.from_numpy(np.cumsum(q / q.sum()))
        self.log_q = torch.from_numpy(np.log(np.maximum(q, 1e-300))).float()

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw ``n`` items with replacement; return (items (n,), their log-probability (n,))."""
        points = torch.rand(n, generator=generator, dtype=torch.float64)
        items = torch.searchsorted(self._cumulative, points, right=True).clamp_(1, len(self._cumulative) - 1)
        return items, self.log_q[items]


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
    positive = (states * positives).sum(1, keepdim=True)
    negative = states @ negatives.T - (negative_log_q + math.log(len(negatives)))[None, :]
    negative = negative.masked_fill(positive_ids[:, None] == negative_ids[None, :], float("-inf"))
    logits = torch.cat([positive, negative], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(states), dtype=torch.long, device=states.device))


def bpr_loss(states: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Return the mean Bayesian personalised ranking loss of row-aligned ``positives`` and ``negatives``, each (B, d).

    ``Paper: Eq. (3)`` (L_rank, the alternative); source: Rendle et al., 2009.
    """
    return -F.logsigmoid((states * (positives - negatives)).sum(1)).mean()


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
