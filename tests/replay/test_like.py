"""A recorded live run as the model of a replay, from records and stores made by hand: no broker, no learner."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.errors import UserError
from dynmm_core.store import Draft, LatentRows, LatentStore, StateFiles
from flows.live.config import StreamSettings
from flows.live.record import RECORD_FILE, LiveRecord
from replay.config import ReplayOptions, StreamNames, merge_options
from replay.like import Likeness, RecordedRun, bundle_like

HOUR_MS = 3_600_000
ROWS = LatentRows(np.array(["item"]), np.array(["a"]), np.ones((1, 2), np.float32))
# All of them others than the defaults.
SETTINGS: dict[str, Any] = {
    "seed": 3, "models": ("static", "adapted"), "history": "version", "publish_delay_ms": 600_000, "slide_ms": 900_000,
    "popularity_window_ms": 1_800_000, "store_every": 7, "keep_consumed": True, "device": "cuda", "threads": 5,
    "adapter_lr": 0.5, "summaries": False, "online": {"ranking": "bpr"}, "detectors": ("kswin",),
}  # fmt: skip


def live_run(folder: Path, states: str = "", **adapt: Any) -> Path:
    """A live run's folder: its record, and a version of each hour by the letters of ``states``."""
    folder.mkdir()
    settings = AdaptSettings(bundle=folder / "bundle", run_dir=folder, config_hash="config", **adapt)
    stream = StreamSettings(run="live-7", slide_ms=settings.slide_ms, allowed_lateness_ms=1_234, max_train_events=77)
    record = LiveRecord(flow="all", stream=stream, adapt=settings)
    (folder / RECORD_FILE).write_text(record.model_dump_json())
    versions(folder, states)
    return folder


def versions(folder: Path, states: str) -> LatentStore:
    store, head = LatentStore.create_or_open(folder / "store", 2), None
    for hour, state in enumerate(states, start=1):
        named = StateFiles(folder / "store" / "state").put({"state": state.encode()})
        head = store.commit(Draft("live-7", hour * HOUR_MS, "config", "base", named, ROWS, True), head)
    return store


def test_every_setting_of_the_run_is_an_option_of_its_replay(tmp_path: Path) -> None:
    run = RecordedRun.open(live_run(tmp_path / "live", **SETTINGS))
    options = merge_options({}, run.options())

    found = options.model_dump(exclude={"from_", "to", "max_windows", "online"})
    told = {name.removesuffix("_ms"): value for name, value in SETTINGS.items() if name != "online"}
    assert found == {**told, "max_train_events": 77} and options.online.ranking == "bpr"
    defaults = ReplayOptions().model_dump()
    assert all(found[name] != defaults[name] for name in found)
    assert run.stream() == StreamNames("live-7", 1_234)


def test_versions_are_compared_slide_by_slide(tmp_path: Path) -> None:
    run = RecordedRun.open(live_run(tmp_path / "live", "abcd"))

    def compared(name: str, states: str) -> Likeness:
        return run.compare(versions(tmp_path / name, states))

    live = str(tmp_path / "live")
    assert compared("equal", "abcd") == Likeness(live, 4, 4, None)
    assert compared("shorter", "ab") == Likeness(live, 2, 2, None)
    assert compared("other", "abxd") == Likeness(live, 4, 2, 3 * HOUR_MS)
    assert compared("longer", "abcde") == Likeness(live, 4, 4, None)


def test_versions_of_other_settings_than_the_record_are_refused(tmp_path: Path) -> None:
    folder = live_run(tmp_path / "live", "ab")
    record = LiveRecord.model_validate_json((folder / RECORD_FILE).read_text())
    changed = record.model_copy(update={"adapt": record.adapt.model_copy(update={"config_hash": "other"})})
    (folder / RECORD_FILE).write_text(changed.model_dump_json())

    with pytest.raises(UserError, match="holds versions of other settings than its record"):
        RecordedRun.open(folder)


def test_the_bundle_is_the_one_asked_for_or_that_of_the_record_where_it_still_lies(tmp_path: Path) -> None:
    run = RecordedRun.open(live_run(tmp_path / "live"))

    assert bundle_like(None, tmp_path / "mine") == tmp_path / "mine"
    assert bundle_like(run, tmp_path / "mine") == tmp_path / "mine"
    with pytest.raises(UserError, match=r"is not at .*bundle any more; name it with --bundle"):
        bundle_like(run, None)
    (tmp_path / "live" / "bundle").mkdir()
    assert bundle_like(run, None) == tmp_path / "live" / "bundle"
