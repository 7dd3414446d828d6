"""The exponential average of the weights that serves."""

import torch


@torch.no_grad()
def average_into(
    serving: torch.nn.Module, raw: torch.nn.Module, updates: int, decay: float, *, warmup: bool = True
) -> None:  # fmt: skip
    """Move ``serving`` towards ``raw`` after the ``updates``-th update; with ``warmup`` its memory grows up to ``decay``."""
    # A plain decay of .99 would serve the initial weights for the first hundred updates.
    current = min(decay, (1 + updates) / (10 + updates)) if warmup else decay
    for served, learned in zip(serving.parameters(), raw.parameters(), strict=True):
        served.lerp_(learned, 1.0 - current)
