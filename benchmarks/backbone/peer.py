"""The independent implementation: RePlay's SASRec (replay-rec), trained in an environment of its own."""

import json
import os
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.backbone.split import Split
from benchmarks.backbone.training import Budget, Trained, figures_of_lists
from benchmarks.stream.broker import REPOSITORY
from dynmm_core.errors import DynmmError

NAME = "replay-rec"
_PROGRAM = Path(__file__).parent / "peers" / "replay_sasrec.py"
_INSTALL_LIMIT_S = 1_200.0


class PeerFailed(DynmmError):
    """The peer's environment could not be made, or its program failed; the message says why."""


def train_peer(split: Split, budget: Budget) -> Trained:
    """Train and test the peer; its epochs are told on stderr.

    Raises:
        PeerFailed: it could not be installed or run.
    """
    python = python_of_peer()
    begun = time.monotonic()
    test = split.requests("test", budget.max_length)
    with TemporaryDirectory() as folder:
        path, lists = Path(folder) / "split.npz", Path(folder) / "lists.npy"
        shown, train_ends = without_test(split)
        np.savez(
            path, items=shown.items, starts=shown.starts, train_ends=train_ends, test_users=test.users,
            validation_users=split.requests("validation", budget.max_length).users,
        )  # fmt: skip
        job = budget.to_json() | {"split": str(path), "lists": str(lists), "num_items": split.num_items}
        environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
        command = [str(python), "-W", "ignore", str(_PROGRAM), json.dumps(job)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder, check=False)
        if done.returncode:
            raise PeerFailed(f"{NAME}: its program ended with {done.returncode}; see above")
        facts = json.loads(done.stdout.splitlines()[-1])
        figures = figures_of_lists(np.load(lists), test.targets)
    return Trained(NAME, figures, facts["epochs"], facts["best_epoch"], facts["validation"], time.monotonic() - begun)


def without_test(split: Split) -> tuple[Split, np.ndarray]:
    """The split without its test events, and where training ends there: a peer cannot look at what it is not given."""
    held = (split.train_ends < split.starts[1:]).astype(np.int64)
    keep = np.ones(len(split.items), bool)
    keep[split.starts[1:][held > 0] - 1] = False
    dropped = np.r_[0, np.cumsum(held)]
    return Split(split.items[keep], split.starts - dropped, split.num_items), split.train_ends - dropped[:-1]


def python_of_peer() -> Path:
    """The Python of the peer's environment, made when first needed and kept."""
    folder = REPOSITORY / ".cache" / "peers" / NAME
    python, done = folder / "bin" / "python", folder / "installed.txt"
    pins = resources.files("benchmarks.backbone").joinpath("peers.txt").read_text()
    if done.is_file() and done.read_text() == pins:
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    wanted = folder / "pins.txt"
    wanted.write_text(pins)
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)])
    done.write_text(pins)
    return python


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S)
    except subprocess.CalledProcessError as error:
        raise PeerFailed(f"{NAME}: its environment could not be made: {error.stderr.strip()[-500:]}") from error
    except subprocess.TimeoutExpired as error:
        raise PeerFailed(f"{NAME}: its environment was not made within {_INSTALL_LIMIT_S:.0f} s") from error
