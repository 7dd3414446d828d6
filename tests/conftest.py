"""What tests share: the real data, where a developer or CI has it, and a real Kafka broker."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests anywhere start brokers, whose modules find each other by this path.
sys.path.append(str(Path(__file__).parent / "broker"))

from kafka_libs import missing_tools
from local_broker import LocalBroker

from tests.disks import mounted
from tests.report.chromium import NEEDS as _CHROMIUM_NEEDS
from tests.report.chromium import Chromium, found_chromium

# As the command line does: threads that spin while they wait starve each other where cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Stores and brokers sync every file. A disk in memory takes that at once, and a kill leaves there what it leaves elsewhere:
# only a power cut, which no test makes, could tell the two apart.
_MEMORY_DISK, _MEMORY_DISK_BYTES = Path("/dev/shm"), 4 << 30
if _MEMORY_DISK.is_dir() and shutil.disk_usage(_MEMORY_DISK).free >= _MEMORY_DISK_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY_DISK))

_BROKER_NEEDS = "a Kafka broker needs Java 17 or later, and Maven to fetch it"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; skips, and says why, where ``DYNMM_DATA`` is not set."""
    folder = os.environ.get("DYNMM_DATA")
    if not folder:
        pytest.skip("DYNMM_DATA is not set: tests on real data are left out")
    return Path(folder)


@pytest.fixture(scope="session")
def broker_tools() -> None:
    """What a broker needs; where it is missing, tests fail in CI and are left out, loudly, elsewhere."""
    missing = missing_tools()
    if not missing:
        return
    reason = f"{' and '.join(missing)} not found: {_BROKER_NEEDS}"
    if os.environ.get("CI", "") not in ("", "0", "false"):
        pytest.fail(reason, pytrace=False)
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


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A headless browser; where there is none, its tests are left out, loudly."""
    program = found_chromium()
    if program is None:
        pytest.skip(f"no Chromium found: {_CHROMIUM_NEEDS}")
    with Chromium(program, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a disk of 64 KiB, which ``disks.resize`` makes larger; skips where this process may mount none."""
    folder = tmp_path / "small"
    folder.mkdir()
    with mounted(folder, "64k") as done:
        if not done:
            pytest.skip("no right to mount a small disk here")
        yield folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("DYNMM_SOAK"):
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="takes long: make soak runs it"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Told by the reports, not by this process's memory: under xdist the tests ran in others.
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    if any(_CHROMIUM_NEEDS in reason for reason in skipped):
        terminalreporter.write_line(f"THE REPORT'S PICTURES WERE NOT LOOKED AT: {_CHROMIUM_NEEDS}", red=True, bold=True)
    if any(_BROKER_NEEDS in reason for reason in skipped):
        reason = f"{' and '.join(missing_tools())} not found: {_BROKER_NEEDS}"
        terminalreporter.write_line(f"KAFKA TESTS LEFT OUT: {reason}", red=True, bold=True)
