"""The order of a protocol's work: bundles once and ahead of their cells, and nothing new once something has failed."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.drift import run
from benchmarks.drift.cells import Folders
from benchmarks.drift.protocol import Cell
from dynmm_core.errors import UserError

FOLDERS = Folders(Path("work"), Path("results"))


def cells(*presets: str) -> list[Cell]:
    return [Cell("x", preset, 1, "demo", ("static",), ()) for preset in presets]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was run; the preset ``bad`` refuses its stream, ``ill`` its run, and births have a bundle of their own."""
    found: list[str] = []

    def note(what: str, cell: Cell, fails: str) -> None:
        found.append(f"{what} {cell.preset}")
        if cell.preset == fails:
            raise UserError(f"{what}: no")

    def bundle(cell: Cell, name: str, folders: Any) -> Path:
        found.append(f"bundle {name}")
        return Path(name)

    monkeypatch.setattr(run, "make_stream", lambda cell, folders: note("stream", cell, "bad"))
    monkeypatch.setattr(run, "bundle_name", lambda cell, folders: "births" if cell.preset == "item_birth" else "others")
    monkeypatch.setattr(run, "make_bundle", bundle)
    monkeypatch.setattr(run, "run_cell", lambda cell, bundle, folders: note(f"run {bundle}", cell, "ill"))
    return found


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_a_bundle_is_made_once_and_before_its_cells(done: list[str], jobs: int) -> None:
    run.run_cells(cells("abrupt", "item_birth", "gradual"), FOLDERS, jobs)
    assert sorted(done[:3]) == ["stream abrupt", "stream gradual", "stream item_birth"]
    assert sorted(done) == sorted([*done[:3], "bundle births", "bundle others",
                                   "run births item_birth", "run others abrupt", "run others gradual"])  # fmt: skip
    for bundle in ("births", "others"):
        assert all(done.index(f"bundle {bundle}") < place for place, one in enumerate(done) if one.startswith(f"run {bundle}"))


def test_nothing_begins_behind_a_failure_and_it_is_what_is_told(done: list[str]) -> None:
    with pytest.raises(UserError, match="stream: no"):
        run.run_cells(cells("abrupt", "bad", "gradual"), FOLDERS, 1)
    assert done == ["stream abrupt", "stream bad"]


def test_cells_finished_before_a_failure_stay_finished(done: list[str]) -> None:
    with pytest.raises(UserError, match="run others: no"):
        run.run_cells(cells("abrupt", "ill", "gradual"), FOLDERS, 1)
    assert done[-2:] == ["run others abrupt", "run others ill"]


def test_a_failed_bundle_is_told_by_its_own_error(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(cell: Cell, name: str, folders: Any) -> Path:
        raise UserError("pretrain: no")

    monkeypatch.setattr(run, "make_bundle", refused)
    with pytest.raises(UserError, match="pretrain: no"):
        run.run_cells(cells("abrupt", "gradual"), FOLDERS, 2)
    assert not any(one.startswith("run") for one in done)
