"""A run that a data engineer handles: started, waited for, stopped, and looked at while it runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from live_run import REPOSITORY, SLIDE_MS, LiveRun

from dynmm_core.store import LatentStore

PATIENCE_S = 60.0
Messages = dict[int, list[tuple[bytes | None, int]]]
Hashes = list[tuple[int, str]]


@dataclass
class Started:
    """A flow that runs; its log goes to a file, so that no full pipe holds it up."""

    process: subprocess.Popen[str]
    log: Path

    def stop(self, status: int = 0) -> dict[str, Any]:
        """SIGTERM; return the accounts that it printed."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended(status)

    def ended(self, status: int = 0) -> dict[str, Any]:
        """Wait for the end; return the accounts, or the log where it is no success."""
        try:
            out, _ = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise AssertionError(f"did not end:\n{self.said[-3000:]}") from None
        assert self.process.returncode == status, self.said[-3000:]
        return dict(json.loads(out)) if out else {"stderr": self.said}

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, holds: Callable[[], bool], what: str) -> None:
        """Poll until it holds; a flow that ends meanwhile is a failure."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert self.process.poll() is None, f"ended while waiting for {what}:\n{self.said[-3000:]}"
            assert time.monotonic() < deadline, f"no {what}:\n{self.said[-3000:]}"
            time.sleep(0.05)


@dataclass
class Operated(LiveRun):
    """A run of the flows with options that each start may change; what it started is killed at the end of the test."""

    changes: dict[str, str] = field(default_factory=dict)
    started: list[Started] = field(default_factory=list)

    def options(self, *more: str) -> list[str]:
        """The options of :class:`LiveRun` with ``changes`` instead of its own."""
        given = super().options(*more)
        for name, value in self.changes.items():
            given[given.index(name) + 1] = value
        return given

    def begin(self, kind: str, *more: str, **env: str) -> Started:
        """Start a dataflow as a user would, and let it run."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]), **env}
        log = self.folder / f"flow-{len(self.started)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                self.command(kind, *more), stdout=subprocess.PIPE, stderr=file, text=True, env=environment, cwd=self.folder
            )
        self.started.append(Started(process, log))
        return self.started[-1]

    def kill_all(self) -> None:
        """End what still runs."""
        for one in self.started:
            one.process.kill()
            one.process.communicate()

    def made(self) -> Hashes:
        """The versions so far, also where there is no store yet."""
        return self.versions() if (self.out / "store" / "latents" / "_delta_log").is_dir() else []

    def lineage(self) -> list[dict[str, Any]]:
        """The lineage of every active version."""
        return [version.lineage for version in LatentStore.open(self.out / "store").active()]


def halves(messages: Messages) -> tuple[Messages, Messages]:
    """The first and the second half of every partition's messages, by time of sending."""
    middle = sorted(time_ms for some in messages.values() for _, time_ms in some)[sum(map(len, messages.values())) // 2]
    first = {partition: [one for one in some if one[1] <= middle] for partition, some in messages.items()}
    return first, {partition: some[len(first[partition]) :] for partition, some in messages.items()}


def closers(messages: Messages) -> Messages:
    """One more event per partition, late enough that every slide before it closes."""
    newest = max(time_ms for some in messages.values() for _, time_ms in some) + 2 * SLIDE_MS
    return {
        partition: [
            (
                json.dumps(
                    {"event_time_ms": newest, "event_id": f"close-{partition}", "user_id": "u1", "item_id": "i1"}
                ).encode(),
                newest,
            )
        ]
        for partition in messages
    }


def joined(*parts: Messages) -> Messages:
    """The messages of all parts, one after the other."""
    return {partition: [one for part in parts for one in part[partition]] for partition in parts[0]}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def closes(told: dict[str, Any]) -> bool:
    """Whether the accounting that a flow printed closes, by itself and by its own word."""
    counted = told["accounting"]
    rest: Sequence[str] = [name for name in counted if name != "read"]
    return bool(told["accounting_closes"]) and counted["read"] == sum(counted[name] for name in rest)
