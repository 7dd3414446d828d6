"""The commands that a user types, each in a process of its own, and what one of them cost."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from dynmm_core.errors import UserError

# A process of its own between us and the command: the kernel counts a child's peak from its parent's, and this parent is small;
# and what runs beside the command is no child of this one.
_MEASURE = """
import json, resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


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
    with nullcontext() if log is None else log.open("wb") as messages:
        measured = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MEASURE, *command],
            stdout=subprocess.PIPE,
            stderr=messages,
            env=environment,
            check=True,
        )
    code, spent, peak_kb = json.loads(measured.stdout)
    seconds = time.monotonic() - begun
    if code:
        told = "its message stands above" if log is None else _last_line(log)
        error = UserError if code == UserError.exit_code else RuntimeError
        raise error(f"dynmm {' '.join(words)}: exit {code}; {told}")
    return Cost(round(seconds, 1), round(spent, 1), round(peak_kb / 1024, 1))


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1].removeprefix('dynmm: ')} ({log})" if lines else f"it said nothing ({log})"
