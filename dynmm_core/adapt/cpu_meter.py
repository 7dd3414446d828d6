"""CPU seconds by what they were spent on: figures beside the results, in no hash."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

ADAPTER, HEAD, REFRESH = "the adapter's update", "the head's update", "counting and refreshing"
STATES = "the users' states"
_PARTS = {
    "static": (),
    "adapted_latents": (ADAPTER, REFRESH),
    "adapted_day_old": (ADAPTER, HEAD, REFRESH),
    "adapted": (ADAPTER, HEAD, REFRESH),
}


class CpuMeter:
    """Adds up the CPU seconds of this process, all threads together; a block inside a block counts for itself alone."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Count what the block spends under ``name``."""
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def take(self) -> dict[str, float]:
        """Return the seconds by name since the last call."""
        spent, self._spent = self._spent, {}
        return spent

    def _settle(self) -> None:
        now = time.process_time()
        if self._open:
            self._spent[self._open[-1]] = self._spent.get(self._open[-1], 0.0) + now - self._since
        self._since = now


def by_model(spent: dict[str, float], models: Sequence[str]) -> dict[str, float]:
    """Return what each model's update took, in seconds; what the adapted models share counts for each of them."""
    return {model: sum((spent.get(part, 0.0) for part in _PARTS.get(model, (model,))), 0.0) for model in models}


def ranking_by_model(spent: dict[str, float], models: Sequence[str]) -> dict[str, float]:
    """Return what each model's ranking took, in seconds; the states of users count for each model that asks with them."""
    shared = spent.get(STATES, 0.0)
    return {model: spent.get(model, 0.0) + shared * (model in _PARTS) for model in models}
