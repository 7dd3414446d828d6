"""Measures engines in rounds, each job in a fresh process, and compares what they found."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.stream.broker import REPOSITORY
from benchmarks.stream.cells import differing_cells
from benchmarks.stream.engines import Engine
from benchmarks.stream.environments import Unmeasured, python_of
from benchmarks.stream.inputs import Inputs

JOB_LIMIT_S = 300.0
ROUNDS_LIMIT_S = 900.0  # leaves five of twenty minutes to memory and curves
_PEERS = Path(__file__).parent / "peers"
_SUMS = ("used", "duplicates", "counted", "pairs", "rule", "co_click")


@dataclass
class Measured:
    """One engine: a result of each round, or the reason why there is none; ``differs`` says how it is wrong."""

    engine: Engine
    results: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None
    differs: str | None = None

    def row(self) -> dict[str, Any]:
        """The engine's row: medians over the rounds, memory at its highest."""
        row: dict[str, Any] = {"engine": self.engine.name, "profile": self.engine.profile}
        if self.reason is not None:
            figures = dict.fromkeys(("events_per_cpu_second", "events_per_second", "peak_rss_mb", "events"))
            return {**row, **figures, "unmeasured": self.reason}
        row["events_per_cpu_second"] = round(statistics.median(one["events"] / one["cpu_seconds"] for one in self.results))
        row["events_per_second"] = round(statistics.median(one["events"] / one["seconds"] for one in self.results))
        row["peak_rss_mb"] = round(max(one["peak_rss_mb"] for one in self.results), 1)
        return {**row, "events": self.results[0]["events"]}


def measure_all(engines: Sequence[Engine], inputs: Inputs, runs: int, say: Callable[[str], None]) -> list[Measured]:
    """Every engine once a round, so that a disturbance of the machine does not hit all runs of one.

    A round that would end too late is left out; the first never is.
    """
    measured = [Measured(engine) for engine in engines]
    begun = time.monotonic()
    for number in range(runs):
        spent = time.monotonic() - begun
        if number and spent * (number + 1) / number > ROUNDS_LIMIT_S:
            say(f"rounds from {number + 1} on are left out: {number} took {spent:.0f} s")
            break
        for one in measured:
            if one.reason is None:
                say(f"round {number + 1} of {runs}: {one.engine.name}, {one.engine.profile}")
                _measure_once(one, inputs)
    _compare_outcomes([one for one in measured if one.engine.profile == "full" and one.results], inputs.plan.events)
    return measured


def run_job(engine: Engine, job: dict[str, Any]) -> dict[str, Any]:
    """Run the engine's program on the job in a process of its own.

    Raises:
        Unmeasured: a peer's program failed, or did not end in time.
        RuntimeError: ours did; that is no measurement but a failure.
    """
    ours = engine.program.startswith("benchmarks.")
    python = sys.executable if engine.environment is None else str(python_of(engine.environment))
    program = ["-m", engine.program] if ours else [str(_PEERS / engine.program)]
    search = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])} if ours else {}
    try:
        done = subprocess.run(
            [python, *program, json.dumps(job)],
            capture_output=True, text=True, timeout=JOB_LIMIT_S, env={**os.environ, **search}, cwd=job["folder"],
        )  # fmt: skip
        if done.returncode == 0:
            return dict(json.loads(done.stdout.splitlines()[-1]))
        reason = f"exit code {done.returncode}: {done.stderr.strip()[-800:]}"
    except subprocess.TimeoutExpired:
        reason = f"did not end within {JOB_LIMIT_S:.0f} s"
    raise RuntimeError(reason) if ours else Unmeasured(reason)


def _measure_once(one: Measured, inputs: Inputs) -> None:
    job = inputs.job(one.engine)
    try:
        result = run_job(one.engine, job)
    except Unmeasured as reason:
        one.reason, one.results = str(reason), []
        return
    except RuntimeError as error:
        one.reason = one.differs = str(error)
        one.results = []
        return
    finally:
        if one.engine.profile == "full":
            shutil.rmtree(job["folder"])
    one.results.append(result)
    if one.engine.profile == "windows":
        differing = differing_cells(Path(job["cells"]), inputs.reference(result["events"]))
        if differing:
            one.differs = f"{differing} cells are not those of the reference"
        shutil.rmtree(job["folder"])


def _compare_outcomes(full: list[Measured], events: int) -> None:
    """Full engines must each use every event, and agree on what they sent."""
    expected = None
    for one in full:
        for result in one.results:
            sums = {name: result["outcome"].get(name, 0) for name in _SUMS}
            expected = expected or sums
            if sums["used"] != events or sums["counted"] != events or sums["duplicates"]:
                one.differs = f"of {events} events {sums['used']} were used, {sums['duplicates']} called duplicates"
            elif any(sums[name] != expected[name] for name in ("pairs", "rule", "co_click")):
                one.differs = f"pair weights {sums} differ from {expected} of {full[0].engine.name}"
