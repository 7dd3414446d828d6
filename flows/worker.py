"""One process of the cluster: ``python -m flows.worker FD`` reads its task from stdin and answers on file descriptor FD."""

import ctypes
import io
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from typing import BinaryIO

from bytewax.testing import cluster_main
from pydantic import BaseModel, ConfigDict

from flows.errors import FailureNote
from flows.job import Job
from flows.process import FlowProcess, ProcessPart

_PR_SET_PDEATHSIG = 1
STOP = b"stop\n"


class Task(BaseModel):
    """What a worker is told: the job, every process's address, its own number, and its parent's process id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: Job
    addresses: tuple[str, ...]
    number: int
    parent: int


class Answer(BaseModel):
    """What a worker answers: nothing but that it is ready to connect; then its part of the finished run, or its failure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: ProcessPart | None = None
    failure: FailureNote | None = None


def main(answers: BinaryIO) -> None:
    """Run this process's share of the dataflow; never returns after a failure."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle, who ends its workers
    task = Task.model_validate_json(sys.stdin.buffer.readline())
    _die_with(task.parent)

    def give_up(error: BaseException) -> None:
        _answer(answers, Answer(failure=FailureNote.of(error)))
        # The parent kills every worker now. To leave earlier would make the others fail on lost connections, and loudly.
        time.sleep(60)
        os._exit(1)

    process = None
    epoch = timedelta(milliseconds=task.job.epoch_ms)
    try:
        process, flow = task.job.open(task.number, give_up)
        _answer(answers, Answer())
        _words().readline()
        _obey(process)
        cluster_main(flow, list(task.addresses), task.number, epoch_interval=epoch)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        give_up(error)
    process.close()
    _answer(answers, Answer(part=process.part()))


def _answer(answers: BinaryIO, answer: Answer) -> None:
    answers.write(answer.model_dump_json().encode() + b"\n")
    answers.flush()


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _words() -> io.RawIOBase:
    # Unbuffered: a thread that waits in a buffered reader holds its lock, and the interpreter cannot end.
    raw: io.RawIOBase = sys.stdin.buffer.raw  # type: ignore[attr-defined]
    return raw


def _obey(process: FlowProcess) -> None:
    """Stop at the parent's word. Without the parent the pipe closes: then die, also where the kernel does not see to it."""

    def listen() -> None:
        words = _words()
        while words.readline() == STOP:
            process.stopping = True
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1]), "wb") as pipe:
        main(pipe)
