"""A child process that ends when its parent does; also a program: ``python guarded.py PARENT COMMAND...``."""

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1


class Guarded:
    """A command running in a session of its own; both its streams go to one file."""

    def __init__(self, command: Sequence[str], output: BinaryIO) -> None:
        started = threading.Event()
        failures: list[OSError] = []

        def start_and_wait() -> None:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(Path(__file__)), str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                failures.append(error)
                return
            finally:
                started.set()
            self._process.wait()

        # The kernel's signal comes when the starting thread ends, not the process: so this thread stays as long as the child.
        self._thread = threading.Thread(target=start_and_wait, daemon=True)
        self._thread.start()
        started.wait()
        if failures:
            raise failures[0]
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; whether it came."""
        self._thread.join(timeout_s)
        if not self.running:
            atexit.unregister(self.kill)
        return not self.running

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where the process has ended."""
        if self.running:
            self._process.send_signal(number)

    def pause(self) -> None:
        """Stop the process without its knowledge; returns when the kernel has stopped it."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def kill(self) -> None:
        """End the process at once; returns when it has ended."""
        self.signal(signal.SIGKILL)
        self.wait()


def become(parent: int, command: Sequence[str]) -> None:
    """Turn this process into the command, with the kernel's promise to end it when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    os.execvp(command[0], list(command))


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
