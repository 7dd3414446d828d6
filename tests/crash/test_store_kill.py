"""A writer killed at any moment leaves whole versions, and goes on as if nothing had been."""

import importlib.util
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dynmm_core.store import LatentStore, StateFiles

WRITER = Path(__file__).with_name("store_writer.py")


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("store_writer", WRITER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kill_after(folder: Path, commits: int, seconds: float) -> list[int]:
    """Let the writer make so many commits and run on for so long, kill it, and return the versions it had said were done."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, str(WRITER), str(folder)], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(commits + 1)]
    time.sleep(seconds)
    process.kill()
    said += process.communicate()[0].splitlines()
    assert process.returncode == -9 and said[0] == b"ready\n"
    return [int(line) for line in said[1:]]


def test_kill_minus_9_at_random_moments_leaves_no_half_version(tmp_path: Path, writer: ModuleType) -> None:
    moments = random.Random(0)
    done = -1
    for commits in range(6):
        said = kill_after(tmp_path / "killed", commits, moments.uniform(0.0, 0.06))
        done = max([done, *said])
        store, states = LatentStore.open(tmp_path / "killed"), StateFiles(tmp_path / "killed" / "state")
        versions = store.log()
        # What was said to be done is there, and at most the one under way besides.
        assert done <= len(versions) - 1 <= done + 1
        assert [version.number for version in versions] == list(range(len(versions)))
        for version in versions:
            assert states.get(version.state)["slide"] == str(version.number).encode()
    head = writer.commit_next(store, states, store.head())

    calm, calm_states = LatentStore.create_or_open(tmp_path / "calm", 16), StateFiles(tmp_path / "calm" / "state")
    undisturbed = None
    while undisturbed is None or undisturbed.number < head.number:
        undisturbed = writer.commit_next(calm, calm_states, undisturbed)
    assert [v.content_hash for v in store.log()] == [v.content_hash for v in calm.log()]
    newest = head.number - head.number % 2
    assert np.array_equal(store.at(newest).rows.latents, calm.at(newest).rows.latents)
