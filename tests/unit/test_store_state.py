"""Trainer states: whole or absent, each part once, removed when nothing names it."""

import os
from pathlib import Path

import pytest

from dynmm_core.errors import UserError
from dynmm_core.store import StateFiles


def names(states: StateFiles) -> set[str]:
    return {file.name for file in states.path.iterdir()}


def test_putting_a_state_again_writes_nothing(tmp_path: Path) -> None:
    states = StateFiles(tmp_path)
    name = states.put({"weights": b"w" * 1000, "moments": b"m"})
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert states.put({"moments": b"m", "weights": b"w" * 1000}) == name
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_an_unchanged_part_costs_nothing(tmp_path: Path) -> None:
    states = StateFiles(tmp_path)
    states.put({"large": b"l" * 1000, "small": b"1"})
    before = names(states)
    states.put({"large": b"l" * 1000, "small": b"2"})
    assert len(names(states) - before) == 2  # the small part and the manifest


def test_gc_keeps_what_is_named_and_removes_the_rest_once(tmp_path: Path) -> None:
    states = StateFiles(tmp_path)
    kept = states.put({"shared": b"s", "own": b"1"})
    dropped = states.put({"shared": b"s", "own": b"2"})
    (tmp_path / ".half.tmp").write_bytes(b"what a killed writer left")
    assert states.gc({kept}) == 3
    assert states.gc({kept}) == 0
    assert states.get(kept) == {"shared": b"s", "own": b"1"}
    with pytest.raises(UserError, match="missing"):
        states.get(dropped)


def test_gc_with_a_missing_state_to_keep_removes_nothing(tmp_path: Path) -> None:
    states = StateFiles(tmp_path)
    name = states.put({"a": b"1"})
    with pytest.raises(UserError, match="missing"):
        states.gc({"0" * 64})
    assert states.get(name) == {"a": b"1"}


def test_gc_before_the_first_state_finds_nothing(tmp_path: Path) -> None:
    assert StateFiles(tmp_path / "none").gc(set()) == 0


@pytest.mark.parametrize("part", ["content", "manifest"])
def test_a_single_changed_byte_is_noticed(tmp_path: Path, part: str) -> None:
    states = StateFiles(tmp_path)
    name = states.put({"weights": b"w" * 100})
    file = tmp_path / name if part == "manifest" else next(f for f in tmp_path.iterdir() if f.name != name)
    content = bytearray(file.read_bytes())
    content[7] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="not what it was written as"):
        states.get(name)


def test_a_part_cut_short_is_written_anew(tmp_path: Path) -> None:
    states = StateFiles(tmp_path)
    name = states.put({"weights": b"w" * 100})
    part = next(file for file in tmp_path.iterdir() if file.name != name)
    part.write_bytes(b"w" * 40)
    assert states.put({"weights": b"w" * 100}) == name
    assert states.get(name) == {"weights": b"w" * 100}


@pytest.mark.parametrize("survives", [0, 1, 2])
def test_a_writer_that_dies_at_any_file_leaves_the_older_state_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    states, older, newer = StateFiles(tmp_path), {"a": b"1", "b": b"2"}, {"a": b"3", "b": b"4"}
    name, replace = states.put(older), Path.replace
    done: list[Path] = []

    def stop(self: Path, target: Path) -> Path:
        if len(done) == survives:
            raise OSError("killed")
        done.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(OSError, match="killed"):
            states.put(newer)
    assert states.get(name) == older
    assert states.get(states.put(newer)) == newer


def test_every_file_is_synced_before_the_manifest_s_name_is_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    StateFiles(tmp_path).put({"a": b"1", "b": b"2"})
    assert len(synced) == 4 and synced[-1] == str(tmp_path)
