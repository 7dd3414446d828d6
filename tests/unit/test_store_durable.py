"""Files of the store are whole or absent, whoever writes the same one; what is wrong with the disk is said."""

import errno
import os
from pathlib import Path

import pytest
from deltalake.exceptions import DeltaError

from dynmm_core.errors import UserError
from dynmm_core.store.durable import full_disk_told, sync, whole_file, write_whole

TOLD = "^disk: .*no space left"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file") as first, whole_file(tmp_path / "file") as second:
        first.write(b"whole")
        second.write(b"another")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": b"whole"}


def test_a_file_has_its_name_only_when_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda handle: named.append((tmp_path / "file").exists()))
    write_whole(tmp_path / "file", b"content")
    assert named == [False] and (tmp_path / "file").read_bytes() == b"content"


def test_a_disk_that_is_full_only_when_the_folder_is_synced_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=TOLD):
        sync(tmp_path)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EDQUOT, "in words of another language"), DeltaError("Unable to copy: Disk quota exceeded (os error 122)")],
    ids=lambda error: type(error).__name__,
)
def test_a_quota_that_is_used_up_is_a_full_disk(error: Exception) -> None:
    with pytest.raises(UserError, match=TOLD), full_disk_told(Path("here")):
        raise error
