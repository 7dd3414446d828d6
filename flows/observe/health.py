"""How a process is: what it says of itself, and since when nothing has moved."""

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
    """One look at a process. Times in ms UTC; ``last_progress_ms`` is None before the first progress."""

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
            "reason": self.reason,
            "last_progress_ms": self.last_progress_ms,
            "since_progress_s": round(self.since_progress_s, 3),
        }


class Health:
    """The state of one process, told by the flow and read by the server, from any thread.

    A failure is final: the first reason stays, whatever is told later. With ``stalled_after_s`` a process that is running
    and has made no progress for longer is reported as failing; it recovers with the next progress. ``clock`` gives seconds
    UTC, ``monotonic`` seconds that never step back.
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

    def progressed(self) -> None:
        """Something was read, committed, or found to be up to date: the process is running."""
        with self._lock:
            self._enter(State.RUNNING, None)
            self._last_progress_ms = int(self._clock() * 1000)
            self._moved_at = self._monotonic()

    def waiting_for_broker(self, reason: str) -> None:
        """The broker does not answer; the process waits for it and is not ill."""
        with self._lock:
            self._enter(State.WAITING_FOR_BROKER, reason)

    def failing(self, reason: str) -> None:
        """The process cannot go on; only a restart helps."""
        with self._lock:
            self._enter(State.FAILING, reason)

    def report(self) -> HealthReport:
        """How the process is now."""
        with self._lock:
            since_s = self._monotonic() - self._moved_at
            state, reason = self._state, self._reason
            if state is State.RUNNING and self._stalled_after_s is not None and since_s > self._stalled_after_s:
                state, reason = State.FAILING, f"no progress for {since_s:.0f} s, more than {self._stalled_after_s:.0f} s"
            return HealthReport(state, reason, self._last_progress_ms, since_s)

    def _enter(self, state: State, reason: str | None) -> None:
        if self._state is not State.FAILING:
            self._state, self._reason = state, reason
