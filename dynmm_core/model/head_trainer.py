"""The head's trainer: a few softmax steps per slide over new and rehearsed requests, an average of its weights for serving."""

import copy
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.nn import functional as F

from dynmm_core.model.averaging import average_into
from dynmm_core.model.devices import fetch, send
from dynmm_core.model.guard import Attempt, Trial, settle
from dynmm_core.model.head import OnlineHead
from dynmm_core.model.held_out import HeldOut, split_held_out
from dynmm_core.model.tensor_files import moments_of, put_moments, save_files
from dynmm_core.randomness import torch_generator
from dynmm_core.sealed import Sealed


@dataclass(frozen=True)
class HeadExamples:
    """Requests to learn from, with the features of their time: the positive is candidate 0, the others were sampled.

    features (n, 1 + k, f) float16; state (n, s) float32; log_q (n, 1 + k) float32, the log-probability times k with which each
    negative was drawn, 0 for the positive.
    """

    features: Tensor
    state: Tensor
    log_q: Tensor

    def __len__(self) -> int:
        return len(self.state)

    def rows(self, rows: Tensor) -> "HeadExamples":
        """Those of ``rows`` (m,)."""
        rows = send(rows, self.state.device)
        return HeadExamples(self.features[rows], self.state[rows], self.log_q[rows])

    @classmethod
    def none(cls, features: int, state: int, negatives: int, device: torch.device | None = None) -> "HeadExamples":
        """No examples, of these widths."""
        widths = ((0, 1 + negatives, features), (0, state), (0, 1 + negatives))
        whole, of_user, of_draw = (torch.zeros(width, device=device) for width in widths)
        return cls(whole.half(), of_user, of_draw)

    def tensors(self) -> dict[str, Tensor]:
        """Every array by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def joined(cls, parts: Sequence["HeadExamples"]) -> "HeadExamples":
        """All of ``parts``, of one width, one behind the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True)
class _KeptSlide:
    """What is remembered of one slide; it never changes, so that its bytes and their digest are made once."""

    slide_end_ms: int
    examples: HeadExamples

    @cached_property
    def content(self) -> Sealed:
        """Every array, as safetensors."""
        return Sealed(save_tensors(fetch(self.examples.tensors())))


@dataclass(frozen=True)
class HeadSettings:
    """How the head learns: AdamW over some of a slide's examples and some of those that were kept, the gradient clipped.

    A step takes ``new_per_step`` new examples beside ``rehearsed_per_step`` kept ones. A slide is gone through once, or again
    until there have been ``least_steps``: many small steps learn as much as few over all examples, at a quarter of the cost.
    ``kept_per_slide`` examples of a slide go into the memory, which holds those of the newest slides up to ``capacity``.
    ``guard``, ``held_out_events`` and ``max_step_rms`` are those of OnlineOptions.
    """

    linear_lr: float = 1e-2
    mlp_lr: float = 3e-3
    least_steps: int = 2
    new_per_step: int = 64
    rehearsed_per_step: int = 128
    kept_per_slide: int = 512
    capacity: int = 6_144
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    guard: bool = True
    held_out_events: int = 200
    max_step_rms: float = 0.5

    def steps(self, examples: int) -> int:
        """Steps over a slide with so many new examples."""
        return max(-(-examples // self.new_per_step), self.least_steps)


class HeadTrainer:
    """Learns the head slide by slide; its whole state goes to bytes and back, the memory in one part per slide.

    Args:
        head: initialised; seed: names every draw together with the slide.
    """

    def __init__(self, head: OnlineHead, settings: HeadSettings, seed: int) -> None:
        self.head, self.settings, self.seed = head, settings, seed
        self.serving = copy.deepcopy(head).requires_grad_(False)
        linear = head.linear_parameters()
        rest = [parameter for parameter in head.parameters() if all(parameter is not one for one in linear)]
        self._optimiser = torch.optim.AdamW(
            [{"params": linear, "lr": settings.linear_lr}, {"params": rest, "lr": settings.mlp_lr}], weight_decay=0.0
        )
        self._memory: deque[_KeptSlide] = deque()
        self.held_out: HeldOut[HeadExamples] = HeldOut("head-held-out.safetensors", settings.held_out_events, HeadExamples)
        self.updates = 0

    def learn(self, examples: HeadExamples, slide_end_ms: int) -> bool:
        """Learn from one slide and remember some of it; return False if the update was rejected and everything went back."""
        return settle(self.attempt(examples, slide_end_ms))

    def attempt(self, examples: HeadExamples, slide_end_ms: int) -> Attempt:
        """Learn from one slide without waiting for the device; what is rejected is told at AdapterTrainer.attempt."""
        if not len(examples):
            return Attempt.none(examples.state.device)
        learned, held = self._held_back(examples, slide_end_ms) if self.settings.guard else (examples, None)
        trial = Trial(self.head, [self.serving, self._optimiser], self._losses, self.held_out, held)
        generator, updates = torch_generator(self.seed, slide_end_ms, "head"), self.updates
        steps = self._steps(learned, generator) if len(learned) else []

        def forget() -> None:
            self.updates = updates

        max_rms = self.settings.max_step_rms if self.settings.guard else float("inf")
        return trial.attempt(steps, max_rms, slide_end_ms, lambda: self._remember(learned, slide_end_ms, generator), forget)

    def _steps(self, examples: HeadExamples, generator: torch.Generator) -> list[Tensor]:
        """Learn from ``examples`` in batches, each beside rehearsed ones; return the loss of each."""
        for head in (self.head, self.serving):
            head.meet(examples.state)
        drawn = self._batches(len(examples), generator)
        return [self._step(HeadExamples.joined([examples.rows(rows), *self._rehearsed(generator)])) for rows in drawn]

    def _batches(self, n: int, generator: torch.Generator) -> Tensor:
        """Rows (steps, m) of n new examples, each of which comes in some step: a broken one would else pass unseen."""
        steps, size = self.settings.steps(n), min(self.settings.new_per_step, n)
        return torch.randperm(n, generator=generator)[torch.arange(steps * size) % n].view(steps, size)

    def settle(self, updates: int, slide_end_ms: int) -> None:
        """Go on learning from the memory alone until there have been so many updates: a short past is gone over again."""
        generator = torch_generator(self.seed, slide_end_ms, "head-settle")
        while self._memory and self.updates < updates:
            if not self._step(HeadExamples.joined(self._rehearsed(generator))).isfinite():
                raise FloatingPointError("head: its loss is not finite")

    def _held_back(self, examples: HeadExamples, slide_end_ms: int) -> tuple[HeadExamples, HeadExamples]:
        """Return the examples to learn from, and those that are held out for the guard."""
        generator = torch_generator(self.seed, slide_end_ms, "head-held-out")
        rows, held = split_held_out(len(examples), self.settings.held_out_events, generator)
        return examples.rows(rows), examples.rows(held)

    @torch.no_grad()
    def _losses(self, examples: HeadExamples) -> Tensor:
        return self._softmax(examples)

    def _softmax(self, batch: HeadExamples) -> Tensor:
        """The loss of each example (n,)."""
        scores = self.head(batch.features.float(), batch.state) - batch.log_q
        first = torch.zeros(len(batch), dtype=torch.long, device=scores.device)
        return F.cross_entropy(scores, first, reduction="none")

    def _step(self, batch: HeadExamples) -> Tensor:
        """Take one step and return its loss, which nobody has waited for."""
        loss = self._softmax(batch).mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), self.settings.clip_norm)
        self._optimiser.step()
        self.updates += 1
        average_into(self.serving, self.head, self.updates, self.settings.ema_decay)
        return loss.detach()

    def _rehearsed(self, generator: torch.Generator) -> list[HeadExamples]:
        """Draw kept examples evenly, by slide: in one piece, the memory would be copied whole for a few of its rows."""
        ends = list(accumulate(len(kept.examples) for kept in self._memory))
        if not ends:
            return []
        drawn = torch.randperm(ends[-1], generator=generator)[: self.settings.rehearsed_per_step].sort().values
        places = torch.tensor_split(drawn, torch.searchsorted(drawn, torch.tensor(ends[:-1])))
        starts = [0, *ends[:-1]]
        of_slides = zip(self._memory, starts, places, strict=True)
        return [kept.examples.rows(rows - start) for kept, start, rows in of_slides if len(rows)]

    def _remember(self, examples: HeadExamples, slide_end_ms: int, generator: torch.Generator) -> None:
        rows = torch.randperm(len(examples), generator=generator)[: self.settings.kept_per_slide]
        self._memory.append(_KeptSlide(slide_end_ms, examples.rows(rows)))
        kept = sum(len(one.examples) for one in self._memory)
        while kept - len(self._memory[0].examples) >= self.settings.capacity:
            kept -= len(self._memory.popleft().examples)

    def to_bytes(self) -> dict[str, bytes]:
        """Return the complete state: raw and averaged weights, optimiser moments, updates, and the memory slide by slide."""
        state = {**self._weights(), **self.held_out.to_bytes()}
        return state | {f"head-memory-{kept.slide_end_ms}.safetensors": kept.content for kept in self._memory}

    def from_bytes(self, state: dict[str, bytes]) -> None:
        """Restore what :meth:`to_bytes` returned."""
        self._restore(state)
        self.held_out.from_bytes(state, next(self.head.parameters()).device)
        prefix, suffix = "head-memory-", ".safetensors"
        ends = sorted(int(name.removeprefix(prefix).removesuffix(suffix)) for name in state if name.startswith(prefix))
        parts = [load_tensors(state[f"{prefix}{end}{suffix}"]) for end in ends]
        device = self.head.weight.device
        self._memory = deque(
            _KeptSlide(end, HeadExamples(**{name: one.to(device) for name, one in part.items()}))
            for end, part in zip(ends, parts, strict=True)
        )

    def _weights(self) -> dict[str, bytes]:
        files = {
            "head.safetensors": self.head.state_dict(),
            "head-serving.safetensors": self.serving.state_dict(),
            "head-optimiser.safetensors": moments_of(self._optimiser),
        }
        return {**save_files(files), "head.json": json.dumps({"updates": self.updates}).encode()}

    def _restore(self, state: dict[str, bytes]) -> None:
        self.head.load_state_dict(load_tensors(state["head.safetensors"]))
        self.serving.load_state_dict(load_tensors(state["head-serving.safetensors"]))
        put_moments(self._optimiser, load_tensors(state["head-optimiser.safetensors"]))
        self.updates = int(json.loads(state["head.json"])["updates"])
