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

from dynmm_core.adapt.journal import SlideJournal
from dynmm_core.store import LatentStore, StateFiles

WRITER = Path(__file__).with_name("store_writer.py")
JOURNAL_WRITER = Path(__file__).with_name("journal_writer.py")


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("store_writer", WRITER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kill_after(commits: int, seconds: float, writer: Path, *arguments: object) -> list[int]:
    """Let the writer make so many commits and run on for so long, kill it, and return the numbers it had said were done."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(writer), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
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
        said = kill_after(commits, moments.uniform(0.0, 0.06), WRITER, tmp_path / "killed")
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


def test_kill_minus_9_at_random_moments_leaves_the_journal_s_committed_slides(tmp_path: Path) -> None:
    moments = random.Random(0)
    # Who wrote each slide; what lies behind a head that went back belongs to nobody.
    writers: list[str] = []
    for attempt in range(6):
        del writers[max(0, len(writers) - moments.randrange(6)) :]
        arguments = (tmp_path, len(writers), f"writer {attempt}")
        said = kill_after(moments.randrange(12), moments.uniform(0.0, 0.02), JOURNAL_WRITER, *arguments)
        assert said == list(range(len(writers) + 1, len(writers) + len(said) + 1))
        writers += [f"writer {attempt}"] * len(said)
        found = list(SlideJournal(tmp_path).read(len(writers) * 10))
        assert [slide.slide_end_ms for slide in found] == [10 * number for number in range(1, len(writers) + 1)]
        assert [slide.events["user_id"][199].as_py() for slide in found] == writers
    assert len(set(writers)) > 3 and len(writers) > 20
