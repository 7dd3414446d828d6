"""The divergence guard: events held out of learning, and when an update of the weights is taken back."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, Self, TypeVar

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

HELD_OUT_SHARE = 0.1
STANDARD_ERRORS = 2.0
SANE_LOSS = 50.0  # nats; an event of more is broken, and no measure of anything
_SLIDES = "slides"


class Rows(Protocol):
    """Events in columns."""

    def __len__(self) -> int: ...
    def tensors(self) -> Mapping[str, Tensor]: ...
    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self: ...


R = TypeVar("R", bound=Rows)


def split_held_out(events: int, most: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the rows of a slide to learn from and those to hold out: each with probability .1, ``most`` of them at most."""
    chosen = torch.rand(events, generator=generator) < HELD_OUT_SHARE
    held = chosen.nonzero().squeeze(1)[:most]
    learned = torch.ones(events, dtype=torch.bool)
    learned[held] = False
    return learned.nonzero().squeeze(1), held


class HeldOut(Generic[R]):
    """The held-out events of the last slides: as few slides as hold ``least`` events together.

    Args:
        file: the name under which they are saved; make: builds the events from their columns.
    """

    def __init__(self, file: str, least: int, make: Callable[..., R]) -> None:
        self.file, self.least = file, least
        self._make = make
        self._parts: deque[tuple[int, R]] = deque()

    def add(self, slide_end_ms: int, events: R) -> None:
        """Take in a slide's; the oldest slides go where the others suffice."""
        if not len(events):
            return
        self._parts.append((slide_end_ms, events))
        held = sum(len(part) for _, part in self._parts)
        while held - len(self._parts[0][1]) >= self.least:
            held -= len(self._parts.popleft()[1])

    def events(self) -> R | None:
        """All of them, or None where they are too few to judge by."""
        return self._joined() if sum(len(part) for _, part in self._parts) >= self.least else None

    def to_bytes(self) -> dict[str, bytes]:
        """Return one file, or none while nothing is held out."""
        if not self._parts:
            return {}
        slides = torch.tensor([[end, len(part)] for end, part in self._parts])
        columns = {name: column.contiguous() for name, column in self._joined().tensors().items()}
        return {self.file: save_tensors({_SLIDES: slides, **columns})}

    def from_bytes(self, state: Mapping[str, bytes], device: torch.device) -> None:
        """Restore what :meth:`to_bytes` returned, among other files."""
        self._parts.clear()
        if self.file not in state:
            return
        columns = {name: column.to(device) for name, column in load_tensors(state[self.file]).items()}
        slides = columns.pop(_SLIDES).tolist()
        cuts = {name: torch.split(column, [size for _, size in slides]) for name, column in columns.items()}
        for place, (end, _) in enumerate(slides):
            self._parts.append((end, self._make(**{name: parts[place] for name, parts in cuts.items()})))

    def _joined(self) -> R:
        parts = [part for _, part in self._parts]
        return type(parts[0]).joined(parts)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights by name; one that is shared stands there once."""
    return {name: weight.detach().clone().contiguous() for name, weight in module.named_parameters()}


def put_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set the weights to what :func:`weights_of` returned."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(weights[name])


def is_sound(module: nn.Module, before: Mapping[str, Tensor], max_rms: float) -> bool:
    """Return whether every weight is finite and their root mean square change since ``before`` is at most ``max_rms``."""
    moved, count = 0.0, 0
    for name, weight in module.named_parameters():
        moved += float((weight.detach() - before[name]).double().square().sum())
        count += weight.numel()
    # A comparison with NaN is False.
    return bool((moved / max(count, 1)) ** 0.5 <= max_rms)


def has_risen(before: Tensor, after: Tensor) -> bool:
    """Return whether the mean of losses ``after`` (n,) lies over two standard errors above that of ``before`` (n,).

    The standard error is that of the mean loss before the update, not of the paired difference: a slide may well pull the
    weights a little away from the one before it. Losses that are not finite have risen.
    """
    error = float(before.double().std()) / len(before) ** 0.5
    rise = float(after.double().mean()) - float(before.double().mean())
    return not rise <= STANDARD_ERRORS * error
