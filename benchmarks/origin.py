"""Where a published figure comes from: the commit and the machine, which every result file names."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from replay.config import environment


def commit() -> str | None:
    """The commit of this checkout, with "+" where files differ from it; None outside one."""
    here = Path(__file__).parent
    found = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=12"], cwd=here, capture_output=True, text=True)
    return found.stdout.strip() or None


def machine() -> dict[str, Any]:
    """Versions, processors and system."""
    return {**environment(), "cpus": os.cpu_count(), "system": platform.platform()}
