"""Block bootstrap: intervals for streams whose neighbouring windows are not independent."""

import numpy as np
from scipy.special import ndtr, stdtrit


def block_bootstrap_ratio(
    numerators: np.ndarray, denominators: np.ndarray, block: int, seed: int, draws: int = 2_000
) -> tuple[float, float, float]:
    """Return (ratio, low, high) of sum(numerators) / sum(denominators) with a 95 % interval; it may be infinite.

    Blocks of ``block`` consecutive windows are drawn with replacement, from every start position and
    around the end (circular), so that each window is drawn equally often. Source: Politis and Romano, 1992. Few blocks
    vary less among themselves than many would, so that the percentiles lie further out the fewer there are
    (Hesterberg 2015, expanded percentile interval); fewer than two say nothing.

    Args:
        numerators: (windows,) one sum per window, such as NDCG@10 of a model; denominators: the same of its rival.
        block: consecutive windows drawn together, at least 1.

    Raises:
        ValueError: no window, or block below 1, or the denominators sum to 0.
    """
    windows = len(numerators)
    if windows == 0 or block < 1 or denominators.sum() == 0:
        raise ValueError(f"block_bootstrap_ratio: {windows} windows, block {block}, denominators sum to {denominators.sum()}")
    ratio, blocks = float(numerators.sum() / denominators.sum()), windows / block
    if blocks < 2:
        return ratio, -np.inf, np.inf
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, windows, size=(draws, -(-windows // block)))
    index = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :windows] % windows
    top, bottom = numerators[index].sum(1), denominators[index].sum(1)
    ratios = np.divide(top, bottom, out=np.full(draws, np.inf), where=bottom > 0)
    # Infinite draws stand at the end: without interpolation none of them meets another.
    tail = float(ndtr(stdtrit(blocks - 1, 0.025) * (blocks / (blocks - 1)) ** 0.5))
    low, high = np.quantile(ratios, [tail, 1 - tail], method="nearest" if np.isinf(ratios).any() else "linear")
    return ratio, float(low), float(high)
