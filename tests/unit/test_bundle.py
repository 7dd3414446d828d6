"""A bundle: bound to its content, made by pre-training in one piece, refused where anything is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dynmm_core.adapt.baseline_tuning import HALF_LIVES_MS, POPULARITY_WINDOWS_MS
from dynmm_core.adapt.pretrain import PretrainSettings, pretrain
from dynmm_core.adapt.tuning import LEARNING_RATES, STABILITY_WEIGHT, TRIALS, fastest
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.model.bundle import Bundle
from simulators.made import write_stream
from simulators.settings import StreamSettings

SETTINGS = PretrainSettings(profile="demo", seed=1, threads=1)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PreparedLog:
    folder = tmp_path_factory.mktemp("log")
    write_stream(folder / "raw", StreamSettings(seed=1, events=6_000, users=400, items=200, topics=10, online_hours=12))
    prepare_folder(folder / "raw", folder / "data", Options(name="small"))
    return PreparedLog.open(folder / "data")


@pytest.fixture(scope="module")
def bundle(log: PreparedLog, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return pretrain(log, tmp_path_factory.mktemp("bundle") / "b", SETTINGS)


def test_pre_training_binds_the_bundle_to_its_log_and_lists_every_trial(log: PreparedLog, bundle: Bundle) -> None:
    assert (bundle.dataset_fingerprint, bundle.cut_row) == (log.fingerprint, log.cut_row)
    assert bundle.history_fingerprint == log.history_fingerprint() and bundle.fits(log)
    assert bundle.choices.popularity_window_ms in POPULARITY_WINDOWS_MS
    assert bundle.choices.half_lives_ms[0] in HALF_LIVES_MS
    assert bundle.choices.adapter_lr in LEARNING_RATES
    assert len([trial for trial in bundle.trials if "epoch" not in trial]) == TRIALS
    assert bundle.choices.stability_weight == STABILITY_WEIGHT


def test_the_same_seed_makes_the_same_bundle(log: PreparedLog, bundle: Bundle, tmp_path: Path) -> None:
    assert pretrain(log, tmp_path / "again", SETTINGS).hash == bundle.hash


def test_the_bundle_carries_every_fact_before_the_cut(log: PreparedLog, bundle: Bundle) -> None:
    cut = bundle.cut_state()
    table = log.read(["user_id", "item_id", "event_time_ms"], 0, log.cut_row)
    assert [cut.item_ids[i - 1] for i in cut.item_idx] == table["item_id"].to_pylist()
    assert [cut.user_ids[u - 1] for u in cut.user_idx] == table["user_id"].to_pylist()
    assert np.array_equal(cut.event_time_ms, table["event_time_ms"].to_numpy())


def test_an_existing_folder_is_refused_before_any_work(log: PreparedLog, bundle: Bundle) -> None:
    with pytest.raises(UserError, match="--out"):
        pretrain(log, bundle.path, SETTINGS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
@pytest.mark.parametrize("device", ["cuda", "abacus"])
def test_a_device_that_is_not_there_is_named(log: PreparedLog, tmp_path: Path, device: str) -> None:
    with pytest.raises(UserError, match=f"--device: '?{device}"):
        pretrain(log, tmp_path / "b", SETTINGS.model_copy(update={"device": device}))


def test_a_changed_file_is_noticed(bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in bundle.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert Bundle.load(copy).hash == bundle.hash
    (copy / "items.arrow").write_bytes(b"no")
    with pytest.raises(UserError, match=r"items\.arrow is missing or changed"):
        Bundle.load(copy)
    manifest = json.loads((copy / "bundle.json").read_text())
    edited = {**manifest, "choices": {**manifest["choices"], "adapter_lr": 0.5}}
    (copy / "bundle.json").write_text(json.dumps(edited))
    with pytest.raises(UserError, match="edited"):
        Bundle.load(copy)
    (copy / "bundle.json").write_text("{")
    with pytest.raises(UserError, match="no JSON"):
        Bundle.load(copy)
    (copy / "bundle.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(UserError, match="schema_version 99"):
        Bundle.load(copy)


def test_a_folder_without_a_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dynmm pretrain"):
        Bundle.load(tmp_path)


def test_of_rates_that_the_tail_does_not_tell_apart_the_greatest_is_taken() -> None:
    assert fastest([(0.330, 1e-4), (0.329, 1e-3), (0.326, 3e-3), (0.317, 1e-2)]) == 3e-3
    assert fastest([(0.162, 1e-4), (0.147, 1e-3)]) == 1e-4
    assert fastest([(0.1625, 1e-4), (0.148, 1e-3), (0.1373, 1e-2), (0.1594, 1e-1)]) == 1e-4
    assert fastest([(0.09, 1e-4), (0.1309, 3e-2), (0.1325, 1e-1)]) == 1e-1


def test_a_folder_without_a_bundle_is_not_advised_for_a_new_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no bundle\.json; make one with `dynmm pretrain DATA --out BUNDLE` and name it"):
        Bundle.load(tmp_path)
    with pytest.raises(UserError, match=f"--out {tmp_path / 'new'}`"):
        Bundle.load(tmp_path / "new")
