"""A disk that fills up costs nothing that was committed, says so in one line, and is gone on from once there is space."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from dynmm_core.errors import UserError
from dynmm_core.store import Draft, LatentRows, LatentStore, StateFiles, Version
from dynmm_core.store.durable import full_disk_told, write_whole
from tests.disks import resize

HOUR_MS = 3_600_000
TOLD = "^disk: .*no space left; free space and start again, nothing is lost$"
IDS = np.array([f"i{k}" for k in range(200)])


def commit_next(store: LatentStore, states: StateFiles, head: Version | None, keep: bool) -> Version:
    number = 0 if head is None else head.number + 1
    latents = np.random.default_rng(number).normal(size=(len(IDS), 8)).astype(np.float32)
    state = states.put({"weights": latents.tobytes()})
    rows = LatentRows(np.array(["item"] * len(IDS)), IDS, latents)
    return store.commit(Draft("r", (number + 1) * HOUR_MS, "config", "base", state, rows, keep), head)


def fill(store: LatentStore, states: StateFiles, keep: bool) -> None:
    head = store.head()
    for _ in range(500):
        head = commit_next(store, states, head, keep)


@pytest.mark.parametrize("keep", [True, False], ids=["rows kept", "rows hashed"])
@pytest.mark.parametrize("place", ["small", "."], ids=["states there", "states elsewhere"])
def test_a_disk_that_fills_up_loses_no_version(small_disk: Path, tmp_path: Path, place: str, keep: bool) -> None:
    resize(small_disk, "256k")
    states = StateFiles(tmp_path / place / "states")
    store = LatentStore.create_or_open(small_disk / "run", 8)
    with pytest.raises(UserError, match=TOLD):
        fill(store, states, keep)
    done = LatentStore.open(small_disk / "run").head()
    assert done is not None and done == store.head() and states.get(done.state)
    resize(small_disk, "1m")
    store, head = LatentStore.open(small_disk / "run"), done
    for _ in range(3):
        head = commit_next(store, states, head, keep)
    calm, undisturbed = LatentStore.create_or_open(tmp_path / "calm", 8), None
    while undisturbed is None or undisturbed.number < head.number:
        undisturbed = commit_next(calm, StateFiles(tmp_path / "calm" / "state"), undisturbed, keep)
    assert [version.content_hash for version in store.log()] == [version.content_hash for version in calm.log()]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("Generic LocalFileSystem error: Unable to copy data to file: No space left on device (os error 28)"),
        DeltaError("Failed to write: No space left on device (os error 28)"),
        CommitFailedError("Transaction failed: No space left on device (os error 28)"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_inside_a_commit_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    store, states = LatentStore.create_or_open(tmp_path, 8), StateFiles(tmp_path / "state")
    head = commit_next(store, states, None, True)

    def full(*args: object, **named: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", full)
        with pytest.raises(UserError, match=TOLD):
            commit_next(store, states, head, True)
    assert commit_next(store, states, head, True).number == 1


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_that_did_not_fit_leaves_no_half_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_whole(tmp_path / "a", b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(UserError, match=TOLD):
            write_whole(tmp_path / "a", b"after")
    assert [file.name for file in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"before"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), UserError("x: No space left on device"), KeyError("x")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    def fail() -> None:
        raise error

    told: Callable[[], None] = fail
    with pytest.raises(type(error)) as found, full_disk_told(Path("here")):
        told()
    assert found.value is error
