"""Paired comparisons of models on a stream: intervals, tests and equivalence over blocks of consecutive windows.

Neighbouring windows are not independent, so that none of this counts events or windows as observations: it counts blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
EQUIVALENCE_CONFIDENCE = 0.90  # two one-sided tests at 5 % each


@dataclass(frozen=True)
class Estimate:
    """A figure with its standard error, from ``degrees`` + 1 blocks."""

    value: float
    error: float
    degrees: int

    def times(self, factor: float) -> "Estimate":
        """Return the figure in another unit."""
        return Estimate(factor * self.value, abs(factor) * self.error, self.degrees)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return the bounds (low, high) of Student's interval."""
        reach = float(stats.t.ppf((1.0 + confidence) / 2.0, self.degrees)) * self.error
        return self.value - reach, self.value + reach

    def p_value(self) -> float:
        """Return the probability of a value at least this far from 0, either way, where 0 is the truth."""
        if self.error == 0.0:
            return 1.0 if self.value == 0.0 else 0.0
        return float(2.0 * stats.t.sf(abs(self.value) / self.error, self.degrees))

    def equivalence_p_value(self, margin: float) -> float:
        """Return the larger p of two one-sided tests against -margin and margin: small where the truth lies between them.

        It is below 5 % exactly where the 90 % interval lies within the margin. Source: Schuirmann, 1987.
        """
        room = margin - abs(self.value)
        if self.error == 0.0:
            return 0.0 if room > 0.0 else 1.0
        return float(stats.t.sf(room / self.error, self.degrees))


def block_sums(values: np.ndarray, block: int) -> np.ndarray:
    """Return the sums (blocks,) of every ``block`` consecutive windows of values (windows,); the last block may be shorter.

    >>> block_sums(np.array([1, 2, 3, 4, 5]), 2).tolist()
    [3, 7, 5]
    """
    return np.asarray(np.add.reduceat(values, np.arange(0, len(values), block)))


def ratio_of_sums(top: np.ndarray, bottom: np.ndarray) -> Estimate:
    """Estimate sum(top) / sum(bottom) over blocks (blocks,), such as a metric's sums over numbers of events.

    Blocks are drawn like events from the stream that they stand for, each with its own weight: the ratio estimator, whose error
    comes from the residuals top - ratio · bottom. Source: Cochran, Sampling Techniques, 1977, chapter 6.

    Raises:
        ValueError: fewer than two blocks, or ``bottom`` adds up to 0.
    """
    blocks, total = len(top), float(np.sum(bottom))
    if blocks < 2 or total == 0.0:
        raise ValueError(f"ratio_of_sums: {blocks} blocks whose denominators add up to {total}")
    ratio = float(np.sum(top)) / total
    residuals = np.asarray(top, np.float64) - ratio * np.asarray(bottom, np.float64)
    error = float(np.sqrt(blocks / (blocks - 1) * (residuals**2).sum())) / abs(total)
    return Estimate(ratio, error, blocks - 1)


def signed_rank_p_value(differences: np.ndarray) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test that differences (blocks,) lie around 0; zeros are left out."""
    moved = differences[differences != 0.0]
    return float(stats.wilcoxon(moved).pvalue) if len(moved) else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted so that, over all of them, one false discovery is as likely as a level says. Source: Holm, 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[number]))
        adjusted[number] = least
    return adjusted
