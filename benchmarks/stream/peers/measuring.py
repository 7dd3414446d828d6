"""What a job measures of itself, in any environment: CPU seconds, wall seconds, peak memory. Standard library alone."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_MB = 1 << 20


def read_job() -> dict[str, Any]:
    """The job, as the JSON object that is the program's one argument."""
    return dict(json.loads(sys.argv[1]))


def measure(work: Callable[[], Any], events: int, beside: Sequence[int] = ()) -> dict[str, Any]:
    """Do the work; CPU seconds are those of this process, its ended children and the processes ``beside``."""
    cpu, wall = _cpu_seconds(beside), time.monotonic()
    work()
    seconds, cpu_seconds = time.monotonic() - wall, _cpu_seconds(beside) - cpu
    return {
        "events": events, "cpu_seconds": cpu_seconds, "seconds": seconds,
        "peak_rss_mb": sum(_peak_bytes(process) for process in (os.getpid(), *beside)) / _MB,
    }  # fmt: skip


def tell(result: dict[str, Any]) -> None:
    """Print the result as the last line of stdout."""
    sys.stdout.flush()
    print(json.dumps(result), flush=True)


def write_csv(path: str, cells: Sequence[tuple[int, str, int]]) -> None:
    """Write (window_end_ms, item_id, events) rows."""
    with open(path, "w") as file:
        file.write("window_end_ms,item_id,events\n")
        file.writelines(f"{end_ms},{item},{events}\n" for end_ms, item, events in cells)


def _cpu_seconds(beside: Sequence[int]) -> float:
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in own) + sum(_ticks(process) for process in beside)


def _ticks(process: int) -> float:
    # The name, in parentheses, may hold blanks; user and system time are the 12th and 13th field behind it.
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_bytes(process: int) -> int:
    status = Path(f"/proc/{process}/status")
    if not status.exists():  # no Linux: only this process can be asked, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
