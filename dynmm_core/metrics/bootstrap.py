"""Block bootstrap: intervals for streams whose neighbouring windows are not independent."""

import numpy as np


def block_bootstrap_ratio(
    numerators: np.ndarray, denominators: np.ndarray, block: int, seed: int, draws: int = 2_000
) -> tuple[float, float, float]:
    """Return (ratio, low, high) of sum(numerators) / sum(denominators) with a 95 % percentile interval; it may be infinite.

    Blocks of ``block`` consecutive windows are drawn with replacement, from every start position and
    around the end (circular), so that each window is drawn equally often. Source: Politis and Romano, 1992.

    Args:
        numerators: (windows,) one sum per window, such as NDCG@10 of a model; denominators: the same of its rival.
        block: consecutive windows drawn together, at least 1.

    Raises:
        ValueError: no window, or block below 1, or the denominators sum to 0.
    """
    windows = len(numerators)
    if windows == 0 or block < 1 or denominators.sum() == 0:
        raise ValueError(f"block_bootstrap_ratio: {windows} windows, block {block}, denominators sum to {denominators.sum()}")
    block = min(block, windows)
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, windows, size=(draws, -(-windows // block)))
    index = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :windows] % windows
    top, bottom = numerators[index].sum(1), denominators[index].sum(1)
    ratios = np.divide(top, bottom, out=np.full(draws, np.inf), where=bottom > 0)
    # Infinite draws stand at the end: without interpolation none of them meets another.
    low, high = np.percentile(ratios, [2.5, 97.5], method="nearest" if np.isinf(ratios).any() else "linear")
    return float(numerators.sum() / denominators.sum()), float(low), float(high)
