"""What tests share: the real data, where a developer or CI has it, and a real Kafka broker."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests anywhere start brokers, whose modules find each other by this path.
sys.path.append(str(Path(__file__).parent / "broker"))

from kafka_libs import missing_tools
from local_broker import LocalBroker

# As the command line does: threads that spin while they wait starve each other where cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_LEFT_OUT = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; skips, and says why, where ``DYNMM_DATA`` is not set."""
    folder = os.environ.get("DYNMM_DATA")
    if not folder:
        pytest.skip("DYNMM_DATA is not set: tests on real data are left out")
    return Path(folder)


@pytest.fixture(scope="session")
def broker_tools(request: pytest.FixtureRequest) -> None:
    """What a broker needs; where it is missing, tests fail in CI and are left out, loudly, elsewhere."""
    missing = missing_tools()
    if not missing:
        return
    reason = f"{' and '.join(missing)} not found: a Kafka broker needs Java 17 or later, and Maven to fetch it"
    if os.environ.get("CI", "") not in ("", "0", "false"):
        pytest.fail(reason, pytrace=False)
    request.config.stash[_LEFT_OUT] = reason
    pytest.skip(reason)


@pytest.fixture(scope="session")
def broker(broker_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A broker that all tests share: name topics after the test, and leave it running."""
    with LocalBroker(tmp_path_factory.mktemp("broker")) as shared:
        yield shared


@pytest.fixture
def own_broker(broker_tools: None, tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker for one test alone, which may kill, pause and restart it."""
    with LocalBroker(tmp_path / "broker") as own:
        yield own


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("DYNMM_SOAK"):
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="takes long: make soak runs it"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _LEFT_OUT in config.stash:
        terminalreporter.write_line(f"KAFKA TESTS LEFT OUT: {config.stash[_LEFT_OUT]}", red=True, bold=True)
