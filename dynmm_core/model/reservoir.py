"""The replay buffer: a uniform sample of all events learned from so far."""

import json

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from dynmm_core.model.devices import fetch
from dynmm_core.model.examples import KeptEvents

BUCKET = 64  # rows that are written together: a slide changes few of them once many events were seen
_PREFIX, _SUFFIX, _FACTS = "replay-", ".safetensors", "replay.json"


class Reservoir:
    """Holds ``capacity`` events such that each one offered so far is among them with equal probability.

    Source: Vitter, 1985 (Algorithm R).
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: {capacity} must be at least 1")
        self.capacity = capacity
        self.seen = 0
        self.kept: KeptEvents | None = None

    def choose(self, events: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Offer so many events in order; return (rows (m,) of those taken in, slots (m,) they go to, each slot once)."""
        number = self.seen + 1 + torch.arange(events)
        drawn = (torch.rand(events, generator=generator, dtype=torch.float64) * number).long()
        slots = torch.where(number <= self.capacity, number - 1, drawn)
        self.seen += events
        last = torch.full((self.capacity,), -1).scatter_reduce(
            0, slots.clamp(max=self.capacity - 1), torch.where(slots < self.capacity, torch.arange(events), -1), "amax"
        )
        taken = (last >= 0).nonzero().squeeze(1)
        return last[taken], taken

    def put(self, slots: Tensor, events: KeptEvents) -> None:
        """Place the chosen ``events`` (m) into their ``slots`` (m,)."""
        kept = events.rows(torch.zeros(0, dtype=torch.long)) if self.kept is None else self.kept
        self.kept = kept.with_rows(slots, events)

    def draw(self, events: int, generator: torch.Generator) -> KeptEvents | None:
        """Return so many of the kept events, or all of them, in random order; None where there is none."""
        if self.kept is None or not len(self.kept) or not events:
            return None
        return self.kept.rows(torch.randperm(len(self.kept), generator=generator)[:events])

    def to_bytes(self) -> dict[str, bytes]:
        """Return the kept events in files of ``BUCKET`` slots, and how many were offered."""
        state = {_FACTS: json.dumps({"seen": self.seen}).encode()}
        columns = {} if self.kept is None else fetch(self.kept.tensors())
        for start in range(0, 0 if self.kept is None else len(self.kept), BUCKET):
            rows = {name: column[start : start + BUCKET].contiguous() for name, column in columns.items()}
            state[f"{_PREFIX}{start // BUCKET:04}{_SUFFIX}"] = save_tensors(rows)
        return state

    def from_bytes(self, state: dict[str, bytes], device: torch.device) -> None:
        """Restore what :meth:`to_bytes` returned, among other files."""
        self.seen = int(json.loads(state[_FACTS])["seen"])
        found = (name for name in state if name.startswith(_PREFIX) and name.endswith(_SUFFIX))
        names = sorted(found, key=lambda name: (len(name), name))
        parts = [{name: tensor.to(device) for name, tensor in load_tensors(state[file]).items()} for file in names]
        self.kept = KeptEvents.joined([KeptEvents(**part) for part in parts]) if parts else None
