"""The peers' own environments: made when first needed, kept for later runs."""

import subprocess
import sys
from importlib import resources
from pathlib import Path

from benchmarks.stream.broker import REPOSITORY

_INSTALL_LIMIT_S = 600.0


class Unmeasured(Exception):
    """An engine could not be measured here; the message says why."""


def python_of(name: str) -> Path:
    """The Python of a peer's environment, with the peer as pinned in ``peers.txt``.

    Raises:
        Unmeasured: it could not be installed.
    """
    folder = REPOSITORY / ".cache" / "peers" / name
    python, done = folder / "bin" / "python", folder / "installed.txt"
    pins = _pins(name)
    if done.is_file() and done.read_text() == pins:
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    wanted = folder / "pins.txt"
    wanted.write_text(pins)
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)])
    done.write_text(pins)
    return python


def _pins(name: str) -> str:
    """The lines of the peer's part in ``peers.txt``."""
    parts = resources.files("benchmarks.stream").joinpath("peers.txt").read_text().split("# ")
    return next(part.partition("\n")[2].strip() + "\n" for part in parts if part.partition("\n")[0].strip() == name)


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S)
    except subprocess.CalledProcessError as error:
        raise Unmeasured(f"its environment could not be made: {error.stderr.strip()[-500:]}") from error
    except subprocess.TimeoutExpired as error:
        raise Unmeasured(f"its environment was not made within {_INSTALL_LIMIT_S:.0f} s") from error
