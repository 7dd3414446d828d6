"""The dataflows on a real broker: the versions of a replay, whatever the processes, and nothing lost in between."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from live_run import LiveRun, json_messages

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.store import LatentStore
from replay.config import ReplayOptions
from replay.runner import ReplayRequest, replay_log
from tests.replay.tiny import bundle_tiny, prepare_tiny, tiny_events

Open = Callable[..., LiveRun]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedLog, Path]:
    folder = tmp_path_factory.mktemp("tiny-live")
    log = prepare_tiny(folder, tiny_events())
    bundle_tiny(log, folder / "bundle", epochs=1)
    return log, folder / "bundle"


@pytest.fixture(scope="session")
def replayed(tiny: tuple[PreparedLog, Path], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """The versions of a replay of the same log from its file."""
    log, bundle = tiny
    out = tmp_path_factory.mktemp("replayed") / "run"
    replay_log(ReplayRequest(data=log.path, bundle=bundle, out=out, options=ReplayOptions(threads=1, store_every=1)))
    return [(version.slide_end_ms, version.content_hash) for version in LatentStore.open(out / "store").log()]


@pytest.fixture
def open_run(broker, tiny: tuple[PreparedLog, Path], tmp_path: Path) -> Open:  # type: ignore[no-untyped-def]
    def opened(partitions: int = 3) -> LiveRun:
        run = LiveRun(broker.bootstrap, tmp_path, tiny[1])
        run.make_topics(partitions)
        run.produce(json_messages(tiny[0], partitions))
        return run

    return opened


def test_summarize_and_adapt_make_the_versions_of_a_replay(open_run: Open, tiny, replayed) -> None:  # type: ignore[no-untyped-def]
    run = open_run()
    events = tiny[0].rows - tiny[0].cut_row
    counted = run.flow("summarize", "--drain")["accounting"]
    assert counted == {"read": events, "used": events, "late": 0, "duplicate": 0, "dead": 0, "pending": 0}
    run.flow("adapt")
    assert run.versions() == replayed
    announced = [json.loads(value) for _, value in run.read(run.settings.versions)]
    assert [(one["slide_end_ms"], one["content_hash"]) for one in announced] == replayed


def test_both_in_one_process_make_the_versions_of_a_replay(open_run: Open, replayed) -> None:  # type: ignore[no-untyped-def]
    run = open_run()
    run.flow("all", "--drain")
    assert run.versions() == replayed
