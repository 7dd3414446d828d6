"""What a slide's work consists of, and the seam through which a benchmark takes the time of each part."""

from collections.abc import Callable
from typing import Literal

Stage = Literal["features", "user states", "ranking", "update", "refresh", "commit"]
Lap = Callable[[Stage], None]


def no_lap(stage: Stage) -> None:
    """Take no time: the work since the call before was ``stage``, and nobody asks."""
