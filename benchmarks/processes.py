"""The commands that a user types, each in a process of its own, and what one of them cost."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dynmm_core.errors import UserError


@dataclass(frozen=True)
class Cost:
    """What a command took, its own workers included: seconds, CPU seconds, and the most memory of one of its processes in MiB."""

    seconds: float
    cpu_seconds: float
    peak_rss_mb: float

    def to_json(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def run_dynmm(words: Sequence[str], log: Path | None = None, threads: int | None = None) -> Cost:
    """Run ``dynmm`` with these words and return its cost.

    Args:
        log: where its messages go; None leaves them on stderr. threads: of its numeric libraries; None leaves that to them.

    Raises:
        UserError: it refused the words.
        RuntimeError: it failed, or was killed.
    """
    environment = {**os.environ, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})}
    command = [sys.executable, "-m", "dynmm_core.cli", *words, "--json"]
    begun = time.monotonic()
    if log is None:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    else:
        with log.open("wb") as messages:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=messages, env=environment)
    # The kernel's figures for this child alone: those for all children mix what runs beside it.
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        told = "its message stands above" if log is None else _last_line(log)
        error = UserError if process.returncode == UserError.exit_code else RuntimeError
        raise error(f"dynmm {' '.join(words)}: exit {process.returncode}; {told}")
    spent = used.ru_utime + used.ru_stime
    return Cost(round(time.monotonic() - begun, 1), round(spent, 1), round(used.ru_maxrss / 1024, 1))


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1].removeprefix('dynmm: ')} ({log})" if lines else f"it said nothing ({log})"
