"""The most memory that this process has held."""

import resource
import sys
from pathlib import Path


def peak_rss_mb() -> float | None:
    """The largest resident memory of this process so far, in MB of 2^20 bytes; None where the system tells none."""
    # Not getrusage: a child's figure there starts at its parent's.
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) / 1024 if lines else None


def own_peak_mb() -> float:
    """The same, from the next best figure where the system tells none."""
    known = peak_rss_mb()
    if known is not None:
        return known
    # Kilobytes on every system but macOS, which counts bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def reset_peak() -> bool:
    """Count the peak from here on; return whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
