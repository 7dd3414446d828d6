"""Files of a run are whole or not there, and on disk when their writer goes on."""

import os
from pathlib import Path

import pytest

from replay.files import write_atomically


def test_a_reader_of_the_file_before_sees_all_of_it(tmp_path: Path) -> None:
    write_atomically(tmp_path / "deep" / "file", b"before")
    with (tmp_path / "deep" / "file").open("rb") as reader:
        write_atomically(tmp_path / "deep" / "file", b"and after")
        assert reader.read() == b"before"
    assert {file.name: file.read_bytes() for file in (tmp_path / "deep").iterdir()} == {"file": b"and after"}


def test_content_is_on_disk_before_the_name_and_the_name_before_the_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []

    def noted(handle: int) -> None:
        synced.append((Path(os.readlink(f"/proc/self/fd/{handle}")).name, (tmp_path / "file").exists()))

    monkeypatch.setattr(os, "fsync", noted)
    write_atomically(tmp_path / "file", b"content")
    assert synced == [("file.partial", False), (tmp_path.name, True)]
