"""The costly models in a replay: beside the others, no part of the versions, the same after a break, refused where untuned."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dynmm_core.adapt.baseline_tuning import GRIDS
from dynmm_core.adapt.costly_tuning import COSTLY_GRIDS
from dynmm_core.adapt.engine import open_engine
from dynmm_core.adapt.loop import AdaptLoop, StepResult
from dynmm_core.adapt.pretrain import PretrainSettings, pretrain
from dynmm_core.adapt.settings import COSTLY_MODELS, AdaptSettings
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.adapt.tuning import Tuned
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.model.bundle import Bundle
from dynmm_core.store.latents import LatentStore
from replay.config import merge_options
from replay.outcome_text import outcome_lines
from replay.runner import ReplayRequest, replay_log
from tests.replay.tiny import COSTLY, bundle_tiny, prepare_tiny, tiny_events

MODELS = ("static", *COSTLY_MODELS, "adapted_latents", "adapted")
OPTIONS: dict[str, Any] = {"threads": 1, "models": ",".join(MODELS), "max_windows": 5}


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dynmm_core.baselines.costly.lightgcn.FIRST_STEPS", 20)
        patch.setattr("dynmm_core.baselines.costly.event_window.DAY_MS", 2 * 3_600_000)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("costly")
    log = prepare_tiny(folder, tiny_events())
    bundle_tiny(log, folder / "bundle", epochs=1, costly=True)
    bundle_tiny(log, folder / "untuned", epochs=1)
    return folder


def request(data: Path, out: Path, bundle: str = "bundle", **options: Any) -> ReplayRequest:
    return ReplayRequest(data=data / "data", bundle=data / bundle, out=out, options=merge_options({**OPTIONS, **options}, {}))


def found(run: Path) -> tuple[list[str], dict[str, Any]]:
    return [one.content_hash for one in LatentStore.open(run / "store").log()], json.loads((run / "metrics.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, Any]]:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    outcome = replay_log(request(data, out))
    assert any(line.startswith("CPU seconds of update: static 0.0, fine_tune ") for line in outcome_lines(outcome, {}))
    assert {("adapted", name) for name in COSTLY_MODELS} <= {(one.numerator, one.denominator) for one in outcome.ratios}
    return found(out)


def test_they_stand_beside_the_others_with_what_their_updates_took(undisturbed: tuple[list[str], dict[str, Any]]) -> None:
    metrics = undisturbed[1]
    assert list(metrics["models"]) == list(metrics["update_cpu_seconds"]) == list(MODELS)
    assert len({metrics["models"][name]["ndcg@10"] for name in MODELS}) == len(MODELS)
    spent = metrics["update_cpu_seconds"]
    assert spent["static"] == 0 and all(spent[name] > 0 for name in MODELS[1:])
    assert spent["adapted_latents"] < spent["adapted"]
    assert list(metrics["rank_cpu_seconds"]) == list(MODELS) and all(spent > 0 for spent in metrics["rank_cpu_seconds"].values())


def test_they_change_no_version(data: Path, undisturbed: tuple[list[str], dict[str, Any]], tmp_path: Path) -> None:
    replay_log(request(data, tmp_path / "run", models="static,adapted_latents,adapted"))
    hashes, metrics = found(tmp_path / "run")
    assert hashes == undisturbed[0] and len(hashes) == 5
    assert {name: undisturbed[1]["models"][name] for name in metrics["models"]} == metrics["models"]


@pytest.mark.parametrize("history", ["event", "version"])
def test_a_replay_that_was_cut_off_learns_again_what_it_had_learned(
    data: Path, undisturbed: tuple[list[str], dict[str, Any]], tmp_path: Path, history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delayed: dict[str, Any] = {"history": history} | ({"publish_delay": "90m"} if history == "version" else {})
    whole = undisturbed
    if history == "version":
        replay_log(request(data, tmp_path / "whole", **delayed))
        whole = found(tmp_path / "whole")
    step, steps = AdaptLoop.step, []

    def stops(loop: AdaptLoop, slide: SlideEvents) -> StepResult:
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(slide)
        return step(loop, slide)

    with monkeypatch.context() as patch:
        patch.setattr(AdaptLoop, "step", stops)
        with pytest.raises(BaseException):  # noqa: B017, PT011
            replay_log(request(data, tmp_path / "run", **delayed))
    assert not (tmp_path / "run" / "metrics.json").exists()
    replay_log(request(data, tmp_path / "run", **delayed))
    hashes, metrics = found(tmp_path / "run")
    assert (hashes, metrics["models"]) == (whole[0], whole[1]["models"])
    assert all(metrics["update_cpu_seconds"][name] > 0 for name in COSTLY_MODELS)


def test_a_bundle_without_their_settings_is_refused_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no settings for fine_tune, periodic_retrain, lightgcn; .*--costly"):
        replay_log(request(data, tmp_path / "run", "untuned"))
    assert not (tmp_path / "run").exists()


def test_a_live_run_refuses_them(data: Path, tmp_path: Path) -> None:
    settings = AdaptSettings(
        bundle=data / "bundle", run_dir=tmp_path / "run", config_hash="test", journal=True, models=("lightgcn", "adapted")
    )
    with pytest.raises(UserError, match="lightgcn learn in replays alone"):
        open_engine(settings)


def test_a_bundle_keeps_the_settings_and_is_the_same_without(data: Path) -> None:
    tuned, untuned = Bundle.load(data / "bundle"), Bundle.load(data / "untuned")
    assert tuned.costly == COSTLY
    assert untuned.costly == {} and tuned.hash != untuned.hash
    assert "costly" not in json.loads((data / "untuned" / "bundle.json").read_text())


@pytest.mark.parametrize("costly", [False, True])
def test_pretraining_chooses_for_them_where_asked(
    data: Path, tmp_path: Path, costly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    simple = Tuned(Bundle.load(data / "untuned").choices, [], {"weight": torch.zeros(1)})
    monkeypatch.setattr("dynmm_core.adapt.pretrain.tune", lambda *_: simple)
    for name, grid in COSTLY_GRIDS.items():
        monkeypatch.setitem(COSTLY_GRIDS, name, grid[:1])
    bundle = pretrain(
        PreparedLog.open(data / "data"), tmp_path / "bundle", PretrainSettings(profile="demo", threads=1, costly=costly)
    )
    trials = [trial for trial in bundle.trials if trial.get("model") in COSTLY_MODELS]
    assert [trial["model"] for trial in trials] == list(COSTLY_MODELS if costly else ())
    popularity = {"half_life_ms": GRIDS["decayed_popularity"][0]["half_life_ms"]}
    assert bundle.costly == ({name: {**grid[0], **popularity} for name, grid in COSTLY_GRIDS.items()} if costly else {})
