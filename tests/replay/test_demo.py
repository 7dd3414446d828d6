"""A second demo goes into a folder of its own; nothing that exists is written into."""

from pathlib import Path

import pytest

from dynmm_core.errors import UserError
from replay.demo import demo_folder


def test_the_default_folder_is_numbered_where_it_is_taken(tmp_path: Path) -> None:
    default = tmp_path / "demo"
    assert demo_folder(None, default) == default

    for expected in ("demo-2", "demo-3"):
        taken = demo_folder(None, default)
        taken.mkdir()
        (taken / "run.json").touch()
        assert demo_folder(None, default).name == expected


def test_an_empty_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert demo_folder(tmp_path, tmp_path / "demo") == tmp_path


def test_a_folder_asked_for_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()

    with pytest.raises(UserError, match="exists and is not empty"):
        demo_folder(tmp_path)
