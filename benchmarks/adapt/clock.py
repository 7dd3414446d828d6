"""Time by stage of one slide: CPU seconds of the process, or on a GPU wall seconds up to the end of its work."""

import time
from collections import defaultdict

import torch

from dynmm_core.adapt.laps import Stage


class StageClock:
    """Adds the time between two laps to the stage that the second one names."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[Stage, float] = defaultdict(float)
        self._since = self._now()

    def start(self) -> None:
        """Begin a slide."""
        self.seconds = defaultdict(float)
        self._since = self._now()

    def lap(self, stage: Stage) -> None:
        """The work since the last call was ``stage``."""
        now = self._now()
        self.seconds[stage] += now - self._since
        self._since = now

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return time.perf_counter()
        return time.process_time()
