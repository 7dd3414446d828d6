"""Protocol files are read strictly, and those we publish name real options."""

from pathlib import Path

import pytest

from benchmarks.replays import run_protocol
from dynmm_core.errors import UserError
from replay.config import merge_options
from replay.protocols import ProtocolFile, read_protocol

# Those of the drift benchmark lie there, too; they have a reader of their own.
PROTOCOLS = [
    path
    for path in sorted((Path(__file__).parents[2] / "benchmarks" / "protocols").glob("*.toml"))
    if not path.stem.startswith("drift")
]


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_a_published_protocol_is_named_like_its_file_and_holds_options_of_replay(path: Path) -> None:
    protocol = read_protocol(path)

    assert protocol.name == path.stem
    assert protocol.data
    for entry in protocol.data:
        merge_options(entry.replay, protocol.replay)


def test_there_is_a_default_protocol() -> None:
    assert "default" in [path.stem for path in PROTOCOLS]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("name = ", "is not valid TOML"),
        ("[replay]\nseed = 1", "name"),
        ('name = "x"\nslide = "1h"', "slide = '1h'"),
        ('name = "a/b"', "name = 'a/b'"),
        ('name = "x"\n[pretrain]\nprofile = "huge"', "pretrain.profile = 'huge'"),
    ],
)
def test_a_wrong_protocol_is_told_in_one_line(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "protocol.toml").write_text(content)

    with pytest.raises(UserError) as caught:
        read_protocol(tmp_path / "protocol.toml")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_benchmark_checks_everything_before_it_runs_anything(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    protocol = ProtocolFile.model_validate({"name": "x", "data": [{"name": "here"}, {"name": "missing"}]})
    wrong = ProtocolFile.model_validate({"name": "x", "data": [{"name": "here", "replay": {"slide": "7m"}}]})
    empty = ProtocolFile.model_validate({"name": "x"})

    for asked, told in ((protocol, "no folder missing"), (wrong, "7m is no multiple"), (empty, r"names no \[\[data\]\]")):
        with pytest.raises(UserError, match=told):
            next(run_protocol(asked, tmp_path, tmp_path / "work", tmp_path / "results"))
    assert sorted(child.name for child in tmp_path.iterdir()) == ["here"]
