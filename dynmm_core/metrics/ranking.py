"""HR and NDCG of one target per ranking, with the expected value over random order where scores tie."""

import numpy as np

CUTOFFS = (5, 10, 20)
METRICS = tuple(f"{name}@{k}" for name in ("hr", "ndcg") for k in CUTOFFS)

_DISCOUNT = 1.0 / np.log2(np.arange(max(CUTOFFS)) + 2.0)
_CUMULATIVE = np.r_[0.0, np.cumsum(_DISCOUNT)]


def expected_metrics(better: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Return the expected metrics (n, 6) of targets, in the order of ``METRICS``, as fractions.

    A target that ``better`` candidates beat and ``ties`` others equal is at each of the ranks better …
    better + ties with equal probability; the expectation over them is closed: a constant scorer over N
    candidates gets HR@k = k / N. A target that is not among the candidates is a miss: ``better`` = -1.

    Args:
        better: (n,) int, candidates with a higher score, or -1 for a miss.
        ties: (n,) int, other candidates with the same score.

    >>> expected_metrics(np.array([0, 1, -1]), np.array([0, 0, 0]))[:, 0].tolist()
    [1.0, 1.0, 0.0]
    >>> float(round(expected_metrics(np.array([0]), np.array([99]))[0, 1], 3))
    0.1
    """
    ranked = better >= 0
    first = np.where(ranked, better, 0)
    size = ties + 1
    out = np.zeros((len(better), len(METRICS)))
    for column, k in enumerate(CUTOFFS):
        low, high = np.minimum(first, k), np.minimum(first + size, k)
        out[:, column] = np.where(ranked, (high - low) / size, 0.0)
        out[:, column + len(CUTOFFS)] = np.where(ranked, (_CUMULATIVE[high] - _CUMULATIVE[low]) / size, 0.0)
    return out
