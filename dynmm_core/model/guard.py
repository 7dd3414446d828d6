"""The divergence guard: when an update of the weights is taken back.

What an update left stays on its device until :func:`wait` asks for it: a device that is asked before stands idle meanwhile.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor, nn

from dynmm_core.model.held_out import HeldOut, R
from dynmm_core.model.snapshot import Snapshot

STANDARD_ERRORS = 2.0
SANE_LOSS = 50.0  # nats; an event of more is broken, and no measure of anything


@dataclass(frozen=True)
class Attempt:
    """An update that was made, and may yet be taken back.

    verdict: (1 + m,) bool, on the device: whether it stands, and which of the events that it held out are sane.
    conclude: takes the verdict on the host, keeps the update or takes it back, and returns whether it stands.
    """

    verdict: Tensor
    conclude: Callable[[Tensor], bool]

    @classmethod
    def none(cls, device: torch.device) -> "Attempt":
        """Where there was nothing to learn from."""
        return cls(torch.zeros(0, dtype=torch.bool, device=device), lambda told: True)


def wait(attempts: Sequence[Attempt]) -> list[Tensor]:
    """Return the verdict of each attempt on the host, all with one wait."""
    told = torch.cat([one.verdict for one in attempts]).cpu()
    return list(torch.split(told, [len(one.verdict) for one in attempts]))


def settle(attempt: Attempt) -> bool:
    """Wait for this attempt alone and conclude it; return whether it stands."""
    return attempt.conclude(*wait([attempt]))


class Trial(Generic[R]):
    """An update in the making: what it changes as that was before, and the events that judge it.

    Args:
        module: whose weights learn; others: what changes with them; losses: of events (n,), with the weights as they stand;
        held_out: events of the slides before; events: held out of this one, None without a guard.
    """

    def __init__(
        self, module: nn.Module, others: Sequence[nn.Module | torch.optim.Optimizer], losses: Callable[[R], Tensor],
        held_out: HeldOut[R], events: R | None,
    ) -> None:  # fmt: skip
        self._module, self._losses, self._held_out, self._events = module, losses, held_out, events
        self._before = Snapshot(module, *others)
        self._sane = torch.zeros(0, dtype=torch.bool, device=next(module.parameters()).device)
        self._judges: R | None = None
        if events is not None and len(events) + len(held_out):
            enough = len(events) + len(held_out) >= held_out.least
            judges = held_out.beside(events) if enough else events
            self._lost = losses(judges)
            self._sane = self._lost[len(judges) - len(events) :] < SANE_LOSS
            self._judges = judges if enough else None

    def attempt(
        self, steps: Sequence[Tensor], max_rms: float, slide_end_ms: int, remember: Callable[[], None], forget: Callable[[], None]
    ) -> Attempt:
        """Return the update whose steps had the losses ``steps``; no step leaves nothing to judge.

        It stands if every loss and weight is finite, the weights have moved by ``max_rms`` at most, and the losses of the
        held-out events have not risen, where those are enough to judge by. Then ``remember`` is called, else the weights go back
        and ``forget`` is called. The sane ones of its own held-out events are held in either case: a guard that rejects would
        else judge by the same past for ever.
        """

        def conclude(told: Tensor) -> bool:
            if self._events is not None:
                sane = told[1:].nonzero().squeeze(1)
                self._held_out.add(slide_end_ms, self._events.rows(sane))
            if not told[0]:
                self._before.restore()
                forget()
                return False
            if steps:
                remember()
            return True

        return Attempt(torch.cat([self._stands(steps, max_rms)[None], self._sane]), conclude)

    def _stands(self, steps: Sequence[Tensor], max_rms: float) -> Tensor:
        if not steps:
            return self._sane.new_ones(())
        finite = torch.stack([torch.isfinite(one).all() for one in (*steps, *self._module.parameters())]).all()
        stands = finite & is_sound(self._module, self._before.of(self._module), max_rms)
        if self._judges is None:
            return stands
        judging, enough = self._held_out.judges(self._sane)
        return stands & ~(enough & has_risen(self._lost, self._losses(self._judges), judging))


def is_sound(module: nn.Module, before: Mapping[str, Tensor], max_rms: float) -> Tensor:
    """Return, as a bool on the device, whether the weights' root mean square change since ``before`` is at most ``max_rms``."""
    moved = [(weight.detach() - before[name]).double().square().sum() for name, weight in module.named_parameters()]
    count = sum(weight.numel() for weight in module.parameters())
    # A comparison with NaN is False.
    return (torch.stack(moved).sum() / max(count, 1)).sqrt() <= max_rms


def has_risen(before: Tensor, after: Tensor, judging: Tensor) -> Tensor:
    """Return, as a bool on the device, whether losses rose by over two standard errors: ``after`` (n,), from ``before`` (n,).

    Those that are ``judging`` (n,) count. The standard error is that of the mean loss before the update, not of the paired
    difference: a slide may well pull the weights a little away from the one before it. Losses that are not finite have risen.
    """
    n = judging.sum().double()
    first, then = (torch.where(judging, one.double(), 0.0) for one in (before, after))
    mean = first.sum() / n
    error = (torch.where(judging, (first - mean).square(), 0.0).sum() / (n - 1)).sqrt() / n.sqrt()
    return ~(then.sum() / n - mean <= STANDARD_ERRORS * error)
