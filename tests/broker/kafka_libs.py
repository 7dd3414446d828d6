"""The broker's jars: fetched once by Maven into ``.cache/kafka-libs``, whole or not at all."""

import contextlib
import fcntl
import hashlib
import shutil
from pathlib import Path

from guarded import Guarded

_POM = Path(__file__).with_name("pom.xml")
_CACHE = Path(__file__).parents[2] / ".cache"
_FETCH_LIMIT_S = 600


def missing_tools() -> list[str]:
    """The programs a broker needs and this machine does not have; Maven is needed only while jars are to be fetched."""
    needed = ["java"] if _complete(_CACHE / "kafka-libs") else ["java", "mvn"]
    return [tool for tool in needed if shutil.which(tool) is None]


def kafka_libs(cache: Path = _CACHE) -> Path:
    """The folder of jars; fetches them where they are not there in the versions that ``pom.xml`` names.

    Raises RuntimeError, with what Maven said, where the fetch fails.
    """
    libs, part = cache / "kafka-libs", cache / "kafka-libs.part"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka-libs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _complete(libs):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            _fetch(part, cache / "kafka-libs.log")
            (part / "pom.sha256").write_text(_pom_hash())
            shutil.rmtree(libs, ignore_errors=True)
            part.rename(libs)
    return libs


def archive_flag(libs: Path, writer: str) -> str:
    """Java's flag to start from the classes an earlier broker has loaded, which halves the start; or else to write them down."""
    archive = libs / "classes.jsa"
    return f"-XX:SharedArchiveFile={archive}" if archive.exists() else f"-XX:ArchiveClassesAtExit={archive}.{writer}"


def keep_archive(libs: Path, writer: str) -> None:
    """Have later brokers use the classes that this one wrote down at its end, where it did."""
    with contextlib.suppress(FileNotFoundError):
        (libs / f"classes.jsa.{writer}").rename(libs / "classes.jsa")


def _fetch(folder: Path, log: Path) -> None:
    command = ["mvn", "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    with log.open("wb") as output:
        maven = Guarded(command, output)
        if not maven.wait(_FETCH_LIMIT_S):
            maven.kill()
    if maven.returncode != 0:
        raise RuntimeError(f"{_POM}: Maven could not fetch the broker (exit {maven.returncode}):\n{log.read_text()[-4000:]}")


def _complete(libs: Path) -> bool:
    marker = libs / "pom.sha256"
    return marker.is_file() and marker.read_text() == _pom_hash()


def _pom_hash() -> str:
    return hashlib.sha256(_POM.read_bytes()).hexdigest()
