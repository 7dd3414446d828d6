"""The rules of a run folder: begun once, resumed by the same configuration, finished by its metrics, never overwritten."""

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from dynmm_core.errors import UserError
from replay.config import ReplaySettings
from replay.files import PARTIAL_SUFFIX, write_atomically

RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
WINDOWS_FILE = "windows.parquet"
ACCOUNTING_FILE = "accounting.json"
ATTEMPTS_FILE = "attempts.jsonl"
LOCK_FILE = ".lock"
_ELSEWHERE = "name another folder with --out"


class RunRecord(BaseModel):
    """The content of ``run.json``: what the run is, under which libraries it began, where its inputs lay.

    truth: fingerprint of the truth that its log was drawn from, if it was given; it changes no version, so it is in no hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    dataset: str
    protocol: str
    config_hash: str
    config: ReplaySettings
    environment: dict[str, str]
    data: str
    bundle: str
    truth: str | None = None


@dataclass(frozen=True)
class RunFolder:
    """An open run folder; ``resumed`` when an earlier attempt began it. Locked until the process ends or closes it."""

    path: Path
    record: RunRecord
    resumed: bool
    lock: int

    @property
    def store_path(self) -> Path:
        """Where the run's latent store lies."""
        return self.path / "store"

    def begin_attempt(self) -> None:
        """Note that an attempt starts now, for the run's time over all its attempts."""
        line = json.dumps({"started_at_ms": time.time_ns() // 1_000_000})
        with (self.path / ATTEMPTS_FILE).open("a") as file:
            file.write(line + "\n")

    def attempt_starts_ms(self) -> list[int]:
        """Return when each attempt started, in wall time, oldest first."""
        lines = (self.path / ATTEMPTS_FILE).read_text().splitlines()
        return [int(json.loads(line)["started_at_ms"]) for line in lines]

    def close(self) -> None:
        """Give the folder free for others."""
        os.close(self.lock)


def open_run(path: Path, record: RunRecord) -> RunFolder:
    """Begin the run in a new or empty folder, or resume it where it is unfinished and of the same configuration.

    Raises:
        UserError: the folder holds a finished run, another run, or anything else; another process works in it; or
            it began under other library versions.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"--out: {path} is a file; {_ELSEWHERE}")
    _begun(path, record)
    path.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
    try:
        # Asked again: until the lock was held, another process may have begun the run, or finished it.
        before = _begun(path, record)
        if before is None:
            write_atomically(path / RUN_FILE, (record.model_dump_json(indent=2) + "\n").encode())
    except BaseException:
        os.close(lock)
        raise
    # The label of a protocol is no part of the configuration; a resumed run keeps the one it began with.
    return RunFolder(path, before or record, before is not None, lock)


def read_run(path: Path) -> RunRecord | None:
    """Return the record of the run at ``path``, None where there is none; UserError where it cannot be read."""
    file = path / RUN_FILE
    if not file.is_file():
        return None
    try:
        return RunRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"--out: {file} is no run of this version of dynmm; {_ELSEWHERE}") from error


def finished_run(path: Path) -> tuple[RunRecord, dict[str, Any]]:
    """Return the record and the document of metrics.json of the finished run at ``path``.

    Raises:
        UserError: no run there, or not a finished one.
    """
    record = read_run(path)
    if record is None or not (path / METRICS_FILE).is_file():
        raise UserError(f"run: {path} holds no finished run; finish it with `dynmm replay`")
    metrics: dict[str, Any] = json.loads((path / METRICS_FILE).read_text())
    return record, metrics


def _begun(path: Path, record: RunRecord) -> RunRecord | None:
    """The run at ``path``, None where there is none yet; refused where ``record`` can neither begin nor resume there."""
    before = read_run(path)
    if before is not None:
        _check_same(path, before, record)
    elif path.is_dir() and _foreign_files(path):
        raise UserError(f"--out: {path} holds files but no {RUN_FILE}, so it is no run; {_ELSEWHERE}")
    return before


def _foreign_files(path: Path) -> bool:
    # An attempt killed before it named its first file leaves these two behind.
    ours = {RUN_FILE + PARTIAL_SUFFIX, LOCK_FILE}
    return any(child.name not in ours for child in path.iterdir())


def _check_same(path: Path, before: RunRecord, now: RunRecord) -> None:
    if before.config_hash != now.config_hash:
        told = _difference(before.config.model_dump(mode="json"), now.config.model_dump(mode="json"))
        raise UserError(f"--out: {path} holds another run ({told}); {_ELSEWHERE}")
    if before.truth != now.truth:
        there, asked = (_truth(record) for record in (before, now))
        raise UserError(f"--truth: {path} was begun with {there}, {asked} is asked; give --truth as then, or {_ELSEWHERE}")
    if (path / METRICS_FILE).exists():
        raise UserError(f"--out: {path} holds this run, finished (see {METRICS_FILE} there); {_ELSEWHERE}")
    if before.environment != now.environment:
        told = _difference(before.environment, now.environment)
        raise UserError(
            f"--out: {path} was begun elsewhere ({told}), so resuming would mix results; resume it there, or {_ELSEWHERE}"
        )


def _truth(record: RunRecord) -> str:
    return "no truth" if record.truth is None else f"truth {record.truth:.16}"


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    fields = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if not fields:
        return "its config_hash differs"
    more = f", and {len(fields) - 1} more" if len(fields) > 1 else ""
    return f"{fields[0]} {before.get(fields[0])!r} there, {now.get(fields[0])!r} asked{more}"


def _lock(path: Path) -> int:
    descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(f"--out: another process works in {path}; wait for it, or {_ELSEWHERE}") from error
    return descriptor
