"""The log on its way into the topic, in a process of its own: ``python -m replay.feed`` reads its task from stdin."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from dynmm_core.errors import UserError

Ends = dict[int, int]


class FeedTask(BaseModel):
    """Which rows of a log go where, and how: ``speed`` in seconds of the log per second on the wall, None for no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    bootstrap: str
    topic: str
    wire: Literal["json", "arrow"]
    speed: float | None
    properties: dict[str, str]
    start_row: int
    end_row: int


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    events: int | None = None
    refused: str | None = None


class Feed:
    """A running feed. ``find_ends`` is asked for the ends of the partitions once everything is acknowledged."""

    def __init__(self, task: FeedTask, find_ends: Callable[[], Ends]) -> None:
        self._find_ends = find_ends
        self._ends: Ends | None = None
        self._failure: BaseException | None = None
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "replay.feed"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(task.model_dump_json().encode() + b"\n")
        self._process.stdin.flush()  # and kept open: its end tells the feed that this process is gone
        self._thread = threading.Thread(target=self._watch, name="feed", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether everything is in the topic."""
        return self._ends is not None

    def ends(self) -> Ends | None:
        """Where the partitions end, None as long as more is coming; raises what has stopped the feed."""
        if self._failure is not None:
            raise self._failure
        return self._ends

    def join(self) -> None:
        """Wait until everything is in the topic, or the feed has failed."""
        self._thread.join()

    def close(self) -> None:
        """End the feed, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _watch(self) -> None:
        assert self._process.stdout is not None and self._process.stderr is not None
        try:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"the feed ended before it had sent the log:\n{self._process.stderr.read().decode()[-3000:]}")
            answer = _Answer.model_validate_json(line)
            if answer.refused is not None:
                raise UserError(answer.refused)
            self._ends = self._find_ends()
        except BaseException as error:  # noqa: BLE001 - raised in the flow, by `ends`
            self._failure = error


def main() -> None:
    """Send the rows, then answer with their number, or with why they were refused."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    task = FeedTask.model_validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    from dynmm_core.datasets.prepared import PreparedLog
    from simulators.kafka_output import produce_log

    try:
        sent = produce_log(
            PreparedLog.open(task.data), task.bootstrap, task.topic, format=task.wire, speed=task.speed,
            properties=task.properties, start_row=task.start_row, end_row=task.end_row,
        )  # fmt: skip
        answer = _Answer(events=sent.events)
    except UserError as error:
        answer = _Answer(refused=str(error).replace("--to-kafka", "--via-kafka"))
    sys.stdout.buffer.write(answer.model_dump_json().encode() + b"\n")
    sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
