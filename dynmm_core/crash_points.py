"""Test instrumentation only: moments at which a test may have the process killed, and bugs that a test may seed.

Both are chosen by the environment, read once at import: ``DYNMM_CRASH_AT="after-state-file:3"`` kills the process at the
third passing of that point (the first where no number stands); ``DYNMM_SEEDED_BUG="skip-commit:2"`` has the second
commit go wrong. Where neither is set, passing a point costs one comparison with None.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Armed:
    """One point, and how many passings are left until it strikes."""

    name: str
    left: int

    def strikes(self, name: str) -> bool:
        """Count a passing of ``name``; True at the one that was asked for, and at no other."""
        if name != self.name:
            return False
        self.left -= 1
        return self.left == 0


def _armed(variable: str) -> _Armed | None:
    name, _, passing = os.environ.get(variable, "").partition(":")
    return _Armed(name, int(passing or 1)) if name else None


_crash = _armed("DYNMM_CRASH_AT")
_bug = _armed("DYNMM_SEEDED_BUG")


def crash_point(name: str, settle: Callable[[], None] | None = None) -> None:
    """Die here by SIGKILL, as if the machine had gone, where the environment asks for it; ``settle`` is called just before."""
    if _crash is not None and _crash.strikes(name):
        if settle is not None:
            settle()
        os.kill(os.getpid(), signal.SIGKILL)


def seeded_bug(name: str) -> bool:
    """Return whether the environment asks for this bug at this passing: a sweep that finds no bug must be able to find one."""
    return _bug is not None and _bug.strikes(name)
