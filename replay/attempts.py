"""What a run took over all its attempts."""

from collections.abc import Sequence
from itertools import pairwise


def seconds_over_attempts(starts_ms: Sequence[int], commits_ms: Sequence[int], now_ms: int) -> float:
    """Return the seconds that a run took, all its attempts together.

    An attempt that was killed counts until its last commit; the last attempt counts until ``now_ms``.

    Args:
        starts_ms: when each attempt started, oldest first; commits_ms: when each version was committed; wall times.
    """
    total = now_ms - starts_ms[-1]
    for start, following in pairwise(starts_ms):
        last = max((at for at in commits_ms if start <= at <= following), default=start)
        total += last - start
    return total / 1_000
