"""A run that is killed leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from flows.config import FlowConfig

CODE = """
import sys
from flows.config import FlowConfig
from flows.run import run_embedded
run_embedded(FlowConfig.model_validate_json(sys.argv[1]), 2)
"""


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def wait_until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_worker_processes_die_with_a_parent_that_is_killed(configure: Callable[..., FlowConfig]) -> None:
    config = configure(engine="fake_engine:open_slow")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CODE, config.model_dump_json()]
    parent = subprocess.Popen(command, env=environment)
    try:
        assert wait_until((config.run_dir / "slides.jsonl").exists)
        workers = children_of(parent.pid)
        assert len(workers) == 2 and all(map(alive, workers))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert wait_until(lambda: not any(map(alive, workers)))
