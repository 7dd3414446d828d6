"""Events held out of learning, by which the guard judges an update."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, Self, TypeVar

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from dynmm_core.model.devices import fetch, send

HELD_OUT_SHARE = 0.1
_SLIDES = "slides"


class Rows(Protocol):
    """Events in columns."""

    def __len__(self) -> int: ...
    def tensors(self) -> Mapping[str, Tensor]: ...
    def rows(self, rows: Tensor) -> Self: ...
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

    def __len__(self) -> int:
        return sum(len(part) for _, part in self._parts)

    def add(self, slide_end_ms: int, events: R) -> None:
        """Take in a slide's; the oldest slides go where the others suffice."""
        if not len(events):
            return
        self._parts.append((slide_end_ms, events))
        held = len(self)
        while held - len(self._parts[0][1]) >= self.least:
            held -= len(self._parts.popleft()[1])

    def beside(self, events: R) -> R:
        """All of them, and ``events`` behind."""
        return type(events).joined([*(part for _, part in self._parts), events])

    def judges(self, sane: Tensor) -> tuple[Tensor, Tensor]:
        """Return which of :meth:`beside` judge once those that are ``sane`` (m,) are added (n + m,), and whether they suffice."""
        sizes = torch.tensor([len(part) for _, part in self._parts], dtype=torch.long)
        newer = (sizes.sum() - sizes.cumsum(0)).repeat_interleave(sizes)
        fresh = sane.sum()
        return torch.cat([send(newer, sane.device) + fresh < self.least, sane]), fresh + len(self) >= self.least

    def to_bytes(self) -> dict[str, bytes]:
        """Return one file, or none while nothing is held out."""
        if not self._parts:
            return {}
        slides = torch.tensor([[end, len(part)] for end, part in self._parts])
        parts = [part.tensors() for _, part in self._parts]
        columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return {self.file: save_tensors({_SLIDES: slides, **fetch(columns)})}

    def from_bytes(self, state: Mapping[str, bytes], device: torch.device) -> None:
        """Restore what :meth:`to_bytes` returned, among other files."""
        self._parts.clear()
        if self.file not in state:
            return
        found = load_tensors(state[self.file])
        slides = found.pop(_SLIDES).tolist()
        columns = {name: column.to(device) for name, column in found.items()}
        cuts = {name: torch.split(column, [size for _, size in slides]) for name, column in columns.items()}
        for place, (end, _) in enumerate(slides):
            self._parts.append((end, self._make(**{name: parts[place] for name, parts in cuts.items()})))
