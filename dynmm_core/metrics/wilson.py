"""Wilson's score interval: what a mean over n events may be, wherever it lies between 0 and 1."""

import numpy as np

Z_95 = 1.959963984540054


def wilson_interval(mean: np.ndarray, n: np.ndarray, z: float = Z_95) -> tuple[np.ndarray, np.ndarray]:
    """Return (low, high), each of the shape of ``mean``: the interval of a mean of n values in [0, 1]; NaN where n is 0.

    Exact in the variance for values that are 0 or 1; any others between have less, so that the interval is at most too
    wide. It takes the values for independent. Source: Wilson, 1927.

    Args:
        mean: of values in [0, 1]; n: how many, of the same shape; z: quantile of the normal law, 95 % by default.

    >>> low, high = wilson_interval(np.array([0.5, 0.0]), np.array([100, 100]))
    >>> [round(float(x), 4) for x in (*low, *high)]
    [0.4038, 0.0, 0.5962, 0.037]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share = z * z / n
        centre = (mean + share / 2) / (1 + share)
        half = np.sqrt(share * (mean * (1 - mean) + share / 4)) / (1 + share)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
