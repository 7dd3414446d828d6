"""Protocols of the drift benchmark: the published ones hold what they are for, a wrong one is refused in one line."""

from pathlib import Path

import pytest

from benchmarks.drift.protocol import read_protocol
from dynmm_core.adapt.settings import COSTLY_MODELS, MODELS
from dynmm_core.cli import main
from dynmm_core.errors import UserError
from simulators.schedule import KINDS

PROTOCOLS = Path(__file__).parents[2] / "benchmarks" / "protocols"
MODELS_LINE = 'models = ["static", "adapted_day_old", "adapted"]\n'
GOOD = f'name = "x"\nseeds = [0]\n{MODELS_LINE}[[stream]]\npreset = "abrupt"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "protocol.toml"
    path.write_text(text)
    return path


def test_the_published_protocol_has_every_kind_of_drift_three_seeds_and_every_model() -> None:
    protocol = read_protocol(PROTOCOLS / "drift.toml")
    assert {cell.preset for cell in protocol.cells} == set(KINDS)
    assert len({cell.seed for cell in protocol.cells}) >= 3
    assert len(protocol.cells) == len(KINDS) * 3
    every = {*MODELS} - {"adapted_latents"}
    for cell in protocol.cells:
        assert every - set(cell.models) <= (set(COSTLY_MODELS) if cell.preset == "null" else set())
    assert protocol.equivalence is not None
    assert (protocol.equivalence.margin, protocol.equivalence.events) == (0.02, 150_000)
    online = sum(int(0.3 * dict(cell.sizes)["events"]) for cell in protocol.cells if cell.preset == "null")
    assert online >= protocol.equivalence.events
    assert protocol.fresher_is_better == ("abrupt",)


def test_the_quick_protocol_has_nobody_costly() -> None:
    protocol = read_protocol(PROTOCOLS / "drift-quick.toml")
    assert {cell.preset for cell in protocol.cells} >= {"abrupt", "null"}
    assert not any(cell.costly for cell in protocol.cells)
    assert protocol.equivalence is None


def test_sizes_and_models_of_a_stream_go_before_those_of_the_protocol(tmp_path: Path) -> None:
    text = f'name = "x"\nseeds = [4, 2]\n{MODELS_LINE}[sizes]\nevents = 5000\nitems = 90\n[[stream]]\npreset = "null"\n'
    text += 'models = ["adapted", "fine_tune", "static", "adapted_day_old"]\nsizes = { events = 6000 }\n'
    first, second = read_protocol(written(tmp_path, text)).cells
    assert dict(first.sizes) == {"events": 6000, "items": 90}
    assert first.models == tuple(name for name in MODELS if name in ("static", "fine_tune", "adapted", "adapted_day_old"))
    assert (first.seed, second.seed) == (4, 2)
    assert first.costly
    assert first.stream != second.stream


def test_a_cell_with_other_models_runs_elsewhere_on_the_same_stream(tmp_path: Path) -> None:
    (one,) = read_protocol(written(tmp_path, GOOD)).cells
    (other,) = read_protocol(written(tmp_path, GOOD.replace('"adapted"]', '"adapted", "switch"]'))).cells
    assert one.stream == other.stream
    assert one.run != other.run


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("name =", "name"), "is not valid TOML"),
        (('name = "x"', 'name = "x/y"'), "name = 'x/y'"),
        (("[0]", "[]"), "seeds"),
        (("[0]", "[1, 1]"), "seeds: 1 stands there twice"),
        (("[0]", "[-1]"), "seeds: -1 does not lie in"),
        (('"abrupt"', '"sudden"'), "preset: 'sudden' is none of abrupt, "),
        (('preset = "abrupt"\n', 'preset = "abrupt"\n[[stream]]\npreset = "abrupt"\n'), "stream: abrupt stands there twice"),
        (('"static", ', '"static", "oracle", '), "models.1 = 'oracle'"),
        (('"static", ', '"static", "static", '), "models: static stands there twice"),
        (('"adapted_day_old", ', ""), "models: adapted_day_old missing; the freshness gain needs"),
        (("[[stream]]", "[sizes]\nevents = -5\n[[stream]]"), "abrupt: sizes.events = -5"),
        (("[[stream]]", "[sizes]\nonline_hours = 11\n[[stream]]"), "online_hours = 11: an interval takes 12 or more"),
        (("[[stream]]", "[sizes]\nitems = 10\n[[stream]]"), "abrupt: sizes.items = 10"),
        (("[[stream]]", "[sizes]\nhours = 10\n[[stream]]"), "sizes.hours = 10"),
        (("[[stream]]", "[equivalence]\nmargin = 0.02\nevents = 10\n[[stream]]"), "stream: null missing"),
        (("[[stream]]", "[equivalence]\nmargin = 2\nevents = 10\n[[stream]]"), "equivalence.margin = 2"),
        (("[[stream]]", 'fresher_is_better = ["gradual"]\n[[stream]]'), "stream: gradual missing"),
    ],
)
def test_a_wrong_protocol_is_told_in_one_line(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(UserError) as refused:
        read_protocol(written(tmp_path, GOOD.replace(*change, 1)))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_protocol_is_refused_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "drift", "--protocol", str(tmp_path / "nowhere.toml")])
    assert "--protocol" in capsys.readouterr().err
