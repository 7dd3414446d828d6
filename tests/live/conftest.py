"""A small faulty log, a run that nothing befell, and a broker that these tests may kill, pause and restart."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog

sys.path.append(str(Path(__file__).parents[1] / "flows"))
sys.path.append(str(Path(__file__).parent))

from calm import LATENESS_MS, PARTITIONS, RATES, SKEW_MS, Calm
from live_ops import SLIDE_MS, Messages, Operated, closers, joined
from local_broker import LocalBroker

from dynmm_core.cli import main
from dynmm_core.datasets.prepared import PreparedLog
from simulators.faults import inject
from simulators.settings import StreamSettings
from simulators.stream import draw_stream
from simulators.world import make_world
from tests.replay.tiny import bundle_tiny, prepare_tiny

Open = Callable[..., Operated]


@pytest.fixture(scope="session")
def broker(broker_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A broker for this folder, which a test may kill, pause and restart: it leaves it running."""
    with LocalBroker(tmp_path_factory.mktemp("live-broker")) as own:
        yield own


def small_log(folder: Path, hours: int = 8) -> PreparedLog:
    stream = draw_stream(make_world(StreamSettings(events=3_000, users=120, items=60, online_hours=hours)))
    events: dict[str, np.ndarray] = {"timestamp": stream.event_time_ms, "user_id": stream.user, "item_id": stream.item}
    return prepare_tiny(folder, events)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedLog, Path]:
    """A log of eight hours and a bundle for it."""
    folder = tmp_path_factory.mktemp("small")
    log = small_log(folder)
    bundle_tiny(log, folder / "bundle", epochs=1)
    return log, folder / "bundle"


@pytest.fixture(scope="session")
def calm(broker: LocalBroker, small: tuple[PreparedLog, Path], tmp_path_factory: pytest.TempPathFactory) -> Calm:
    log, bundle = small
    events = log.read(["event_time_ms", "event_id", "user_id", "item_id"], log.cut_row, log.rows)
    faulty = inject(events, RATES, 3, PARTITIONS, SLIDE_MS, LATENESS_MS, SKEW_MS)
    plain: Messages = {partition: list(some) for partition, some in enumerate(faulty.messages)}
    messages = joined(plain, closers(plain))
    live = Operated(broker.bootstrap, tmp_path_factory.mktemp("calm"), bundle)
    live.make_topics(PARTITIONS)
    live.produce(messages)
    live.flow("summarize", "--drain")
    live.flow("adapt")
    closing_ms = messages[0][-1][1]
    summaries = {key: value for key, value in live.summaries().items() if int(key.split("/")[2]) <= closing_ms}
    versions = [version for version in live.versions() if version[0] <= closing_ms]
    assert len(versions) == faulty.expected.slides
    return Calm(live, messages, faulty.expected, versions, summaries)


@pytest.fixture
def open_run(broker: LocalBroker, small: tuple[PreparedLog, Path], tmp_path: Path) -> Iterator[Open]:
    """Opens runs with topics of their own; ends what they started."""
    opened: list[Operated] = []

    def opening(messages: Messages | None = None, partitions: int = PARTITIONS, **changes: str) -> Operated:
        folder = tmp_path / f"run-{len(opened)}"
        folder.mkdir()
        named = {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
        run = Operated(broker.bootstrap, folder, small[1], changes=named)
        opened.append(run)
        run.make_topics(partitions)
        run.produce(messages or {})
        return run

    yield opening
    for run in opened:
        run.kill_all()


@pytest.fixture
def done(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Runs a command in this process, which must end well; returns what it printed."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(one) for one in arguments])
        shown = capsys.readouterr()
        assert not stopped.value.code, shown.err
        return shown.out

    yield run
    structlog.reset_defaults()


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Runs a command in this process, which must be refused with exit code 2 and one line; returns the line."""

    def refuse(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(one) for one in arguments])
        said = capsys.readouterr().err.strip()
        assert stopped.value.code == 2, said
        told = [line for line in said.splitlines() if not line.startswith("{")]
        assert len(told) == 1, said
        return told[0]

    yield refuse
    structlog.reset_defaults()
