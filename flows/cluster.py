"""A cluster on one machine: one worker process each, loopback ports, and a parent that ends them all together."""

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO

from flows.errors import FailureNote
from flows.job import Job
from flows.process import ProcessPart
from flows.worker import STOP, Answer, Task

_ATTEMPTS = 3
_LISTEN_SECONDS = 0.1
_POLL_SECONDS = 0.01
_LOOK_SECONDS = 0.2


class _PortTaken(Exception):
    """Somebody took a port between choosing and using it."""


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    answers: IO[bytes]
    part: ProcessPart | None = None


def run_cluster(job: Job, processes: int, stopping: Callable[[], bool] = lambda: False) -> list[ProcessPart]:
    """Run the dataflow on so many worker processes; their parts in order of process number.

    The first failure of a worker is raised here as what it was, after all workers have been killed. A worker that loses this
    process kills itself.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return _run_once(job, processes, stopping)
        except _PortTaken:
            if attempt == _ATTEMPTS - 1:
                raise RuntimeError(f"ports: none of {_ATTEMPTS} choices of free loopback ports stayed free") from None
    raise AssertionError("unreachable")


def _run_once(job: Job, processes: int, stopping: Callable[[], bool]) -> list[ProcessPart]:
    addresses = tuple(f"127.0.0.1:{port}" for port in _free_ports(processes))
    with ExitStack() as stack:
        workers = []
        for number in range(processes):
            task = Task(job=job, addresses=addresses, number=number, parent=os.getpid())
            workers.append(_start(task))
            stack.callback(_stop, workers[-1])
        for worker in workers:
            _take_answer(worker, worker.answers.readline())
        for worker in workers:
            # One after the other: a worker connects to those before it, and a refused connection costs it a second.
            _tell(worker, b"go\n")
            time.sleep(_LISTEN_SECONDS)
        return _watch(workers, stopping)


def _start(task: Task) -> _Worker:
    receive, send = os.pipe()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "RUST_BACKTRACE": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.worker", str(send)],
        stdin=subprocess.PIPE, stdout=2, env=environment, pass_fds=(send,),
    )  # fmt: skip
    os.close(send)
    worker = _Worker(task.number, process, os.fdopen(receive, "rb"))
    _tell(worker, task.model_dump_json().encode() + b"\n")
    return worker


def _tell(worker: _Worker, line: bytes) -> None:
    assert worker.process.stdin is not None
    with suppress(BrokenPipeError):  # a worker that has ended is found out by its answer
        worker.process.stdin.write(line)
        worker.process.stdin.flush()  # and kept open: its end tells the worker that this process is gone


def _watch(workers: list[_Worker], stopping: Callable[[], bool]) -> list[ProcessPart]:
    """Wait for every worker's part, telling all to stop when it is time; raise the first failure."""
    told = False
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.answers, selectors.EVENT_READ, worker)
        while selector.get_map():
            if not told and stopping():
                told = True
                for worker in workers:
                    _tell(worker, STOP)
            for key, _ in selector.select(_LOOK_SECONDS):
                worker = key.data
                _take_answer(worker, worker.answers.readline())
                selector.unregister(worker.answers)
    return [worker.part for worker in workers if worker.part is not None]


def _take_answer(worker: _Worker, line: bytes) -> None:
    if not line:
        status = worker.process.wait()
        raise RuntimeError(f"dataflow process {worker.number} ended with status {status} before it had finished")
    answer = Answer.model_validate_json(line)
    if answer.failure is not None:
        _raise(answer.failure)
    worker.part = answer.part


def _raise(note: FailureNote) -> None:
    error = note.to_exception()
    if "Address already in use" in note.message or "AddrInUse" in note.message:
        raise _PortTaken() from error
    raise error


def _stop(worker: _Worker) -> None:
    """End a worker: one that has answered may leave by itself, any other is killed."""
    if worker.part is not None:
        deadline = time.monotonic() + 5
        while worker.process.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    worker.process.kill()
    worker.process.wait()
    assert worker.process.stdin is not None
    with suppress(BrokenPipeError):
        worker.process.stdin.close()
    worker.answers.close()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]
