"""A bundle serves every log with its history, as a bundle of that log's own would, and no other."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.model.bundle import Bundle
from replay.config import merge_options
from replay.runner import ReplayRequest, replay_log
from simulators.made import Made
from simulators.output import write_made
from simulators.schedule import read_preset
from simulators.settings import StreamSettings
from tests.replay.tiny import bundle_tiny

SETTINGS = StreamSettings(events=10_000, users=400, items=300, online_hours=20)


def prepared(folder: Path, preset: str) -> PreparedLog:
    made = Made.drawn(SETTINGS, read_preset(preset).drift)
    write_made(folder / preset / "made", made.table, made.truth)
    prepare_folder(folder / preset / "made", folder / preset / "data", Options(name=preset))
    return PreparedLog.open(folder / preset / "data")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreparedLog]:
    folder = tmp_path_factory.mktemp("logs")
    return {name: prepared(folder, name) for name in ("abrupt", "gradual", "item_birth")}


@pytest.fixture(scope="module")
def bundle(logs: dict[str, PreparedLog], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "abrupt"
    bundle_tiny(logs["abrupt"], out, epochs=1)
    return out


def replayed(log: PreparedLog, bundle: Path, out: Path) -> pa.Table:
    options = merge_options({"threads": 1, "models": "static,sequential_rule,adapted", "max_windows": 3}, {})
    return pq.read_table(
        replay_log(ReplayRequest(data=log.path, bundle=bundle, out=out, options=options)).run / "windows.parquet"
    )


def test_a_bundle_of_another_log_with_the_same_history_is_as_good_as_its_own(
    logs: dict[str, PreparedLog], bundle: Path, tmp_path: Path
) -> None:
    bundle_tiny(logs["gradual"], tmp_path / "own", epochs=1)

    shared = replayed(logs["gradual"], bundle, tmp_path / "shared-run")

    assert shared.equals(replayed(logs["gradual"], tmp_path / "own", tmp_path / "own-run"))


def test_a_bundle_of_another_history_is_refused(logs: dict[str, PreparedLog], bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--bundle: made for abrupt .* log is item_birth .* events before the cut are others"):
        replayed(logs["item_birth"], bundle, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_bundle_that_has_not_noted_its_history_fits_its_own_log_alone(logs: dict[str, PreparedLog], bundle: Path) -> None:
    old = replace(Bundle.load(bundle), history_fingerprint=None)

    assert old.fits(logs["abrupt"]) and not old.fits(logs["gradual"])
    assert not replace(old, cut_row=old.cut_row - 1).fits(logs["abrupt"])
