"""What buckets carry: written for all of them at once, found again by hash, and kept as long as a bucket may need it."""

from pathlib import Path

import pytest

from dynmm_core.errors import UserError
from dynmm_core.windows.messages import ShardState, hash_of
from flows.live.recovery import RecoveryFolder
from flows.live.state_files import KEPT_STATES


def state(shard: str, slide: int) -> ShardState:
    payload = f"{shard} behind {slide}".encode() * (slide % 3 + 1)
    return ShardState("run", shard, slide * 900_000, hash_of(payload).hex(), payload)


def keep(folder: RecoveryFolder, *states: ShardState) -> None:
    for one in states:
        folder.keep(one)
    folder.settle()


def files(path: Path) -> list[Path]:
    return sorted((path / "tails").glob("*"))


def test_states_of_several_buckets_lie_in_one_file_once_they_are_settled(tmp_path: Path) -> None:
    folder, states = RecoveryFolder(tmp_path), [state(f"user-{bucket:02}", 7) for bucket in range(16)]
    for one in states:
        folder.keep(one)
    assert files(tmp_path) == []
    folder.settle()
    folder.settle()
    assert len(files(tmp_path)) == 1
    for one in states:
        assert RecoveryFolder(tmp_path).load(one.shard, one.digest) == one.payload


def test_a_slide_that_is_sent_again_leaves_its_file_as_it_was(tmp_path: Path) -> None:
    keep(RecoveryFolder(tmp_path), state("a", 1), state("b", 1))
    (file,) = files(tmp_path)
    written = file.stat().st_mtime_ns
    keep(RecoveryFolder(tmp_path), state("a", 1), state("b", 1))
    assert (files(tmp_path), file.stat().st_mtime_ns) == ([file], written)


def test_the_last_states_of_every_bucket_stay_however_long_it_is_silent(tmp_path: Path) -> None:
    folder, other = RecoveryFolder(tmp_path), RecoveryFolder(tmp_path)
    keep(folder, state("a", 0), state("silent", 0))
    for slide in range(1, KEPT_STATES + 10):
        keep(folder, state("a", slide))
        keep(other, state("b", slide))
    assert len(files(tmp_path)) == 1 + 2 * KEPT_STATES
    silent = state("silent", 0)
    assert other.load("silent", silent.digest) == silent.payload
    for shard in ("a", "b"):
        oldest = state(shard, 10)
        assert RecoveryFolder(tmp_path).load(shard, oldest.digest) == oldest.payload
        with pytest.raises(UserError, match=f"has no state {state(shard, 9).digest[:12]} of {shard}; bring the folder back"):
            folder.load(shard, state(shard, 9).digest)


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    keep(RecoveryFolder(tmp_path), state("a", 1), state("b", 1))
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert RecoveryFolder(tmp_path).load("a", state("a", 1).digest) == state("a", 1).payload
    with pytest.raises(UserError, match="is not what it was written as"):
        RecoveryFolder(tmp_path).load("b", state("b", 1).digest)
