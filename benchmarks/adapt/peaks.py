"""The most memory that each part of a run took: of the GPU, or of the process."""

import torch

from dynmm_core.memory import own_peak_mb, reset_peak

PARTS = ("loading", "slides", "refresh of every item")
_MB = 1 << 20


class Peaks:
    """Tells one part's peak from the next one's.

    ``found``: MiB by part; None for parts behind the first where the system cannot count anew.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.found: dict[str, float | None] = {}
        self._known = self._reset() or device.type == "cpu"

    def end(self, part: str) -> None:
        """The part ends here, and the next one begins."""
        self.found[part] = self._peak() if self._known else None
        self._known = self._reset()

    def _peak(self) -> float:
        return torch.cuda.max_memory_allocated(self._device) / _MB if self._device.type == "cuda" else own_peak_mb()

    def _reset(self) -> bool:
        if self._device.type != "cuda":
            return reset_peak()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)
        return True
