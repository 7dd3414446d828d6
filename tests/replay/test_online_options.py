"""How the adapter learns, said by a protocol file: it reaches the learner, and a run under it can be cut off anywhere."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from dynmm_core.adapt.engine import open_engine
from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.store.latents import LatentStore
from dynmm_core.store.state import StateFiles
from dynmm_core.windows.slides import Slide
from replay.config import merge_options
from replay.protocols import read_protocol
from replay.runner import Outcome, ReplayRequest, replay_log
from tests.counting import counts_of
from tests.crash.adapt_writer import go_on, hashes, settings, slides
from tests.replay.tiny import bundle_tiny, prepare_tiny, tiny_events

LITERAL = Path(__file__).parents[2] / "benchmarks" / "protocols" / "paper-literal.toml"
SHORT = {"threads": 1, "max_windows": 4, "models": "static,adapted_latents"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    bundle_tiny(prepare_tiny(made, tiny_events()), made / "bundle", epochs=1)
    return made


def replayed(folder: Path, out: Path, protocol: Path) -> Outcome:
    named = read_protocol(protocol)
    options = merge_options(SHORT, named.replay)
    return replay_log(ReplayRequest(folder / "data", folder / "bundle", out, options, protocol=named.name))


def parts(run: Path) -> dict[str, bytes]:
    head = LatentStore.open(run / "store").head()
    assert head is not None
    return StateFiles(run / "store" / "state").get(head.state)


def test_the_papers_letter_runs_on_a_log_and_is_another_configuration(folder: Path, tmp_path: Path) -> None:
    literal = replayed(folder, tmp_path / "literal", LITERAL)
    again = replayed(folder, tmp_path / "again", LITERAL)
    (tmp_path / "default.toml").write_text('name = "default"\n')
    default = replayed(folder, tmp_path / "default", tmp_path / "default.toml")

    assert hashes(tmp_path / "literal") == hashes(tmp_path / "again")
    assert literal.metrics["models"] == again.metrics["models"]
    assert literal.metrics["config_hash"] != default.metrics["config_hash"]
    assert literal.metrics["models"]["static"]["ndcg@10"] == default.metrics["models"]["static"]["ndcg@10"]
    found = parts(tmp_path / "literal")
    assert "ewc.safetensors" in found and "held-out.safetensors" not in found
    assert "ewc.safetensors" not in parts(tmp_path / "default")


def test_bpr_is_reached_from_a_protocol_file(folder: Path, tmp_path: Path) -> None:
    for name in ("softmax", "bpr"):
        (tmp_path / f"{name}.toml").write_text(f'name = "{name}"\n[replay.online]\nranking = "{name}"\n')
        replayed(folder, tmp_path / name, tmp_path / f"{name}.toml")
    bpr, softmax = (parts(tmp_path / name)["adapter.safetensors"] for name in ("bpr", "softmax"))
    assert bpr != softmax


LETTER = {"ewc_weight": 1.0, "share_adapter": True, "gate_bias": False, "held_out_events": 10, "replay_capacity": 150}
PROGRAM = """
import sys
from pathlib import Path
from tests.crash.adapt_writer import go_on
go_on(Path(sys.argv[1]), Path(sys.argv[2]), 6, online={online!r})
"""


@pytest.mark.parametrize("point", ["after-state-file:3", "after-store-commit:4"])
def test_a_killed_run_with_every_memory_goes_on_to_the_same_versions(folder: Path, tmp_path: Path, point: str) -> None:
    bundle = folder / "bundle"
    go_on(bundle, tmp_path / "whole", 6, online=LETTER)
    program = [sys.executable, "-c", PROGRAM.format(online=LETTER), str(bundle), str(tmp_path / "killed")]
    environment = {**os.environ, "DYNMM_CRASH_AT": point, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(program, env=environment, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    assert len(hashes(tmp_path / "killed")) < 6
    go_on(bundle, tmp_path / "killed", 6, online=LETTER)

    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")
    assert parts(tmp_path / "killed") == parts(tmp_path / "whole")


def test_a_version_says_that_its_update_was_rejected_and_has_its_events_counted(folder: Path, tmp_path: Path) -> None:
    go_on(folder / "bundle", tmp_path / "run", 3, adapter_lr=1.0, online={"max_step_rms": 0.01})
    versions = LatentStore.open(tmp_path / "run" / "store").log()
    assert [version.metrics["update_rejected"] for version in versions] == [True, True, True]
    states = StateFiles(tmp_path / "run" / "store" / "state")
    first, *others = (states.get(version.state) for version in versions)
    for name in ("adapter.safetensors", "serving.safetensors", "optimiser.safetensors", "replay.json"):
        assert all(other[name] == first[name] for other in others)
    assert len({version.content_hash for version in versions}) == 3


def test_a_version_says_how_many_new_items_are_folded_in_also_after_a_restart(folder: Path, tmp_path: Path) -> None:
    def renamed(slide: Slide, number: int) -> Slide:
        """Two items of this slide, which come after others of their user, are new ones."""
        ids = slide.events["item_id"].to_pylist()
        ids[-2:] = [f"new-{number}", f"new-{number}-too"]
        place = slide.events.column_names.index("item_id")
        events = slide.events.set_column(place, "item_id", pa.array(ids, slide.events["item_id"].type))
        return replace(slide, events=events, counts=counts_of(events))

    born = [renamed(slide, number) for number, slide in enumerate(slides(folder / "bundle", 4))]
    for name, restarts in (("whole", ()), ("again", (2,))):
        engine = open_engine(settings(folder / "bundle", tmp_path / name, online={"fold_in": True}))
        for number, slide in enumerate(born):
            if number in restarts:
                engine = open_engine(settings(folder / "bundle", tmp_path / name, online={"fold_in": True}))
            engine.on_slide(slide)
    versions = LatentStore.open(tmp_path / "whole" / "store").log()
    assert [version.metrics["folded_items"] for version in versions] == [2, 4, 6, 8]
    assert hashes(tmp_path / "again") == hashes(tmp_path / "whole")


def test_settings_of_online_learning_travel_as_they_are(tmp_path: Path) -> None:
    said = AdaptSettings(bundle=tmp_path, run_dir=tmp_path, config_hash="x", online={"ranking": "bpr"})
    assert AdaptSettings.model_validate_json(said.model_dump_json()) == said
