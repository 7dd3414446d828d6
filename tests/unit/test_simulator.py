"""The simulated stream: its size and windows are exact, its seed is everything, its drifts are real."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dynmm_core.cli import main
from dynmm_core.errors import UserError
from dynmm_core.times import HOUR_MS
from simulators.made import write_stream
from simulators.settings import StreamSettings, cut_time_ms
from simulators.stream import Stream, draw_stream
from simulators.world import World, make_world

SMALL = StreamSettings(seed=3, events=20_000, users=1_200, items=600, online_hours=24)


@pytest.fixture(scope="module")
def small() -> tuple[World, Stream]:
    world = make_world(SMALL)
    return world, draw_stream(world)


def shares(stream: Stream, items: int, first_hour: float, last_hour: float) -> np.ndarray:
    """Share of each item among the events of some online hours."""
    hour = (stream.event_time_ms - cut_time_ms()) / HOUR_MS
    inside = (hour >= first_hour) & (hour < last_hour)
    return np.bincount(stream.item[inside], minlength=items) / inside.sum()


def test_the_default_stream_has_the_promised_size() -> None:
    settings = StreamSettings()
    stream = draw_stream(make_world(settings))
    assert len(stream.user) == 160_000
    assert len(np.unique(stream.user)) == settings.users == 10_000
    assert len(np.unique(stream.item)) == settings.items == 3_000
    online = stream.event_time_ms[112_000:]
    assert stream.event_time_ms[111_999] < cut_time_ms() <= online[0]
    assert len(np.unique(online // HOUR_MS)) == 72


def test_times_are_in_order_and_every_online_window_is_filled(small: tuple[World, Stream]) -> None:
    _, stream = small
    assert (np.diff(stream.event_time_ms) >= 0).all()
    assert len(stream.user) == SMALL.events
    cut = int(0.7 * SMALL.events)
    assert np.unique(stream.event_time_ms[cut:] // HOUR_MS).tolist() == [cut_time_ms() // HOUR_MS + k for k in range(24)]


def test_one_seed_gives_one_file_and_another_seed_another(tmp_path: Path) -> None:
    for name, settings in (("a", SMALL), ("b", SMALL), ("c", SMALL.model_copy(update={"seed": 4}))):
        write_stream(tmp_path / name, settings)
    files = [(tmp_path / name / "interactions.parquet").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]


def test_no_item_comes_before_its_birth(small: tuple[World, Stream]) -> None:
    world, stream = small
    birth = world.drifts[1]
    born = np.isin(stream.item, birth.items)
    assert born.any()
    assert stream.event_time_ms[born].min() >= birth.start_ms == cut_time_ms() + 16 * HOUR_MS


def test_both_drifts_move_what_is_popular_and_quiet_hours_do_not(small: tuple[World, Stream]) -> None:
    _, stream = small
    quiet, abrupt, births = (shares(stream, SMALL.items, *hours) for hours in ((0, 8), (8, 16), (16, 24)))
    history = shares(stream, SMALL.items, -168, 0)

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.abs(one - other).sum() / 2)

    # A third of the distance is the noise of a thousand draws from six hundred items.
    assert distance(quiet, history) < 0.36
    assert distance(abrupt, history) > distance(quiet, history) + 0.08
    assert distance(births, history) > distance(abrupt, history) + 0.04


def test_the_truth_names_every_drift_with_its_moment_and_items(tmp_path: Path) -> None:
    write_stream(tmp_path / "out", SMALL)
    truth = json.loads((tmp_path / "out" / "truth.json").read_text())
    assert [drift["kind"] for drift in truth["drifts"]] == ["abrupt", "item_birth"]
    assert truth["settings"]["seed"] == 3
    known = set(pq.read_table(tmp_path / "out" / "interactions.parquet")["item_id"].to_pylist())
    assert set(truth["drifts"][1]["items"]) & known
    assert [drift["start_ms"] for drift in truth["drifts"]] == [cut_time_ms() + hour * HOUR_MS for hour in (8, 16)]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists"):
        write_stream(tmp_path / "out", SMALL)


def test_an_impossible_size_names_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["simulate", "--out", str(tmp_path / "out"), "--events", "-5"])
    assert stopped.value.code == 2
    assert "--events" in capsys.readouterr().err
