"""The undisturbed run that every killed one is compared with."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "flows"))

from live_run import LiveRun

from tests.crash.undisturbed import PARTITIONS, Undisturbed, faulty_log
from tests.replay.tiny import bundle_tiny, prepare_tiny, tiny_events


@pytest.fixture(scope="session")
def undisturbed(broker, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("undisturbed")
    log = prepare_tiny(folder, tiny_events())
    bundle_tiny(log, folder / "bundle", epochs=1)
    live, faulty = LiveRun(broker.bootstrap, folder, folder / "bundle"), faulty_log(log)
    live.make_topics(PARTITIONS)
    live.produce({partition: list(messages) for partition, messages in enumerate(faulty.messages)})
    counted = live.flow("summarize", "--drain")["accounting"]
    expected = {name: getattr(faulty.expected, name) for name in ("read", "used", "late", "duplicate", "dead")}
    assert counted == {**expected, "pending": 0}
    live.flow("adapt")
    return Undisturbed(live, faulty, live.summaries(), live.versions())
