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
from dynmm_core.model.guard import SANE_LOSS, HeldOut, has_risen, is_sound, split_held_out, weights_of
from dynmm_core.model.head import OnlineHead
from dynmm_core.model.snapshot import Snapshot, all_finite
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
        return Sealed(save_tensors({name: one.contiguous() for name, one in self.examples.tensors().items()}))


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
        """Learn from one slide and remember some of it; return False if the update was rejected and everything went back.

        An update is rejected for the same reasons as one of AdapterTrainer.
        """
        if len(examples) and self.settings.guard:
            examples = self._held_back(examples, slide_end_ms)
        if not len(examples):
            return True
        before, updates, weights = Snapshot(self.head, self.serving, self._optimiser), self.updates, weights_of(self.head)
        held = self.held_out.events()
        losses = None if held is None else self._losses(held)
        generator = torch_generator(self.seed, slide_end_ms, "head")
        for head in (self.head, self.serving):
            head.meet(examples.state)
        drawn = self._batches(len(examples), generator)
        taken = [self._step(HeadExamples.joined([examples.rows(rows), *self._rehearsed(generator)])) for rows in drawn]
        accepted = all_finite(taken, self.head)
        accepted = accepted and is_sound(self.head, weights, self.settings.max_step_rms if self.settings.guard else float("inf"))
        if accepted and held is not None and losses is not None:
            accepted = not has_risen(losses, self._losses(held))
        if accepted:
            self._remember(examples, slide_end_ms, generator)
        else:
            before.restore()
            self.updates = updates
        return accepted

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

    def _held_back(self, examples: HeadExamples, slide_end_ms: int) -> HeadExamples:
        """Hold some examples out for the guard; return the others."""
        generator = torch_generator(self.seed, slide_end_ms, "head-held-out")
        rows, held = split_held_out(len(examples), self.settings.held_out_events, generator)
        events = examples.rows(held)
        self.held_out.add(slide_end_ms, events.rows((self._losses(events) < SANE_LOSS).nonzero().squeeze(1)))
        return examples.rows(rows)

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
        moments = {
            f"{index}.{name}": value.contiguous()
            for index, state in self._optimiser.state_dict()["state"].items()
            for name, value in state.items()
        }
        return {
            "head.safetensors": save_tensors(_contiguous(self.head)),
            "head-serving.safetensors": save_tensors(_contiguous(self.serving)),
            "head-optimiser.safetensors": save_tensors(moments),
            "head.json": json.dumps({"updates": self.updates}).encode(),
        }

    def _restore(self, state: dict[str, bytes]) -> None:
        self.head.load_state_dict(load_tensors(state["head.safetensors"]))
        self.serving.load_state_dict(load_tensors(state["head-serving.safetensors"]))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in load_tensors(state["head-optimiser.safetensors"]).items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = value
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.updates = int(json.loads(state["head.json"])["updates"])


def _contiguous(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
