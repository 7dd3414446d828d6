"""How a process is: what it says of itself, and which of its parts has work and does not get on with it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What a process may say of itself; only ``failing`` is ill."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING_FOR_BROKER = "waiting_for_broker"
    FAILING = "failing"


@dataclass(frozen=True)
class HealthReport:
    """One look at a process. Times in ms UTC; ``last_progress_ms`` is None before the first progress.

    ``ready``: the plan is made, and reading has begun.
    """

    state: State
    reason: str | None
    last_progress_ms: int | None
    since_progress_s: float

    @property
    def ok(self) -> bool:
        """Whether a supervisor should leave the process alone."""
        return self.state is not State.FAILING

    def to_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return {
            "status": "ok" if self.ok else "failing",
            "state": self.state.value,
            "ready": self.state is State.RUNNING,
            "reason": self.reason,
            "last_progress_ms": self.last_progress_ms,
            "since_progress_s": round(self.since_progress_s, 3),
        }


@dataclass
class _Part:
    """Since when a part has not moved, and how much lay before it when it was last looked at."""

    moved_at: float
    behind: int


class Health:
    """The state of one process, told by the flow and read by the server, from any thread.

    A failure is final: the first reason stays, whatever is told later. With ``stalled_after_s`` a process is reported as failing
    while one of its parts has work before it and has made no progress for longer. One that has nothing to do is well, and so is
    one that waits for the broker. ``clock`` gives seconds UTC, ``monotonic`` seconds that never step back.
    """

    def __init__(
        self,
        stalled_after_s: float | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stalled_after_s, self._clock, self._monotonic = stalled_after_s, clock, monotonic
        self._lock = threading.Lock()
        self._state, self._reason = State.STARTING, None  # type: tuple[State, str | None]
        self._last_progress_ms: int | None = None
        self._moved_at = monotonic()
        self._parts: dict[str, _Part] = {}

    @property
    def waiting(self) -> bool:
        """Whether the broker is said to be away."""
        return self._state is State.WAITING_FOR_BROKER

    def progressed(self, part: str, behind: int = 0) -> None:
        """A part got on with its work, of which ``behind`` pieces (messages, slides) are still before it."""
        with self._lock:
            self._run()
            self._last_progress_ms = int(self._clock() * 1000)
            self._moved_at = self._monotonic()
            self._parts[part] = _Part(self._moved_at, behind)

    def looked(self, part: str, behind: int) -> None:
        """A part has not moved since it was last told of; ``behind`` 0: because it has nothing to do, or is to wait."""
        with self._lock:
            self._run()
            known = self._parts.get(part)
            if known is None or not known.behind or not behind:
                self._parts[part] = _Part(self._monotonic(), behind)
            else:
                known.behind = behind

    def waiting_for_broker(self, reason: str) -> None:
        """The broker does not answer; the process waits, and is not ill, until :meth:`broker_answers`."""
        with self._lock:
            self._enter(State.WAITING_FOR_BROKER, reason)

    def broker_answers(self) -> None:
        """The broker is there again; whoever waited for it begins anew."""
        with self._lock:
            if self.waiting:
                self._enter(State.RUNNING, None)
                self._parts = {name: _Part(self._monotonic(), part.behind) for name, part in self._parts.items()}

    def failing(self, reason: str) -> None:
        """The process cannot go on; only a restart helps."""
        with self._lock:
            self._enter(State.FAILING, reason)

    def report(self) -> HealthReport:
        """How the process is now."""
        with self._lock:
            now = self._monotonic()
            state, reason = self._state, self._reason
            if state is State.RUNNING and (stalled := self._stalled(now)) is not None:
                state, reason = State.FAILING, stalled
            return HealthReport(state, reason, self._last_progress_ms, now - self._moved_at)

    def _stalled(self, now: float) -> str | None:
        """The first part, by name, that has work and has stood still for too long."""
        if self._stalled_after_s is None:
            return None
        for name, part in sorted(self._parts.items()):
            still_s = now - part.moved_at
            if part.behind and still_s > self._stalled_after_s:
                return f"{name}: {part.behind} behind, no progress for {still_s:.0f} s, more than {self._stalled_after_s:.0f} s"
        return None

    def _run(self) -> None:
        if not self.waiting:  # what was fetched before says nothing of the broker
            self._enter(State.RUNNING, None)

    def _enter(self, state: State, reason: str | None) -> None:
        if self._state is not State.FAILING:
            self._state, self._reason = state, reason
