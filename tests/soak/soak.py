"""Kills flows and restarts the broker at random while a log grows, then compares with a run that nothing befell.

Ends with 0 and writes its figures where nothing was lost, nothing came twice and every hash is equal; with 3 otherwise.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))
sys.path.append(str(Path(__file__).parents[1] / "flows"))
sys.path.append(str(Path(__file__).parents[1] / "broker"))

from live_run import LiveRun
from local_broker import LocalBroker

from dynmm_core.console import progress
from dynmm_core.store import LatentStore
from tests.crash.undisturbed import PARTITIONS, RATES, faulty_log
from tests.replay.tiny import bundle_tiny, prepare_tiny, tiny_events

ROOT = Path(__file__).parents[2]
_KINDS = ("summarize", "adapt")
_LONGEST_LIFE_S = 6.0
Messages = dict[int, list[Any]]


@dataclass
class Flows:
    """summarize and adapt of one run, each a process that may be killed and started again."""

    run: LiveRun
    logs: Path
    living: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started: int = 0
    killed: int = 0

    def start(self, kind: str) -> None:
        """Start a flow; what it tells goes to a file."""
        self.started += 1
        with (self.logs / f"{self.started:03}-{kind}.log").open("wb") as log:
            self.living[kind] = subprocess.Popen(self.run.command(kind), stdout=log, stderr=log, env=self.run.environment())

    def kill(self, kind: str) -> None:
        """End a flow as a crash would; it must still have been alive."""
        process = self.living.pop(kind)
        if process.poll() is not None:
            raise RuntimeError(f"{kind} ended by itself with {process.returncode}; see {self.logs}")
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.killed += 1

    def end(self) -> None:
        """End whatever still lives."""
        for process in self.living.values():
            process.kill()
            process.wait()


def disturb(flows: Flows, broker: LocalBroker, messages: Messages, kills: int, restarts: int, draw: random.Random) -> None:
    """Let the log grow while flows die and the broker goes away and comes back, in an order drawn at random."""
    blows: list[Callable[[], None]] = [lambda: _strike(flows, draw)] * kills + [lambda: _restart(broker)] * restarts
    draw.shuffle(blows)
    written = dict.fromkeys(messages, 0)
    for kind in _KINDS:
        flows.start(kind)
    with progress("soak", len(blows)) as bar:
        for number, blow in enumerate(blows, start=1):
            until = {part: len(some) * number // len(blows) for part, some in messages.items()}
            flows.run.produce({part: some[written[part] : until[part]] for part, some in messages.items()})
            written = until
            time.sleep(draw.uniform(0.3, _LONGEST_LIFE_S))
            blow()
            bar.advance(1)


def _strike(flows: Flows, draw: random.Random) -> None:
    for kind in draw.choice([_KINDS[:1], _KINDS[1:], _KINDS[:1], _KINDS[1:], _KINDS]):
        flows.kill(kind)
        flows.start(kind)


def _restart(broker: LocalBroker) -> None:
    broker.kill()
    broker.start()


def figures(calm: LiveRun, struck: LiveRun, used: int) -> dict[str, Any]:
    """What the struck run has lost and made twice, in events of its versions, and whether everything hashes alike."""
    versions = LatentStore.open(struck.out / "store").active()
    counted: dict[int, int] = {}
    doubled = 0
    for version in versions:
        events = int(version.lineage["events"])
        doubled += events if version.slide_end_ms in counted else 0
        counted[version.slide_end_ms] = events
    equal = struck.versions() == calm.versions() and struck.summaries() == calm.summaries()
    return {"lost": max(0, used - sum(counted.values())), "duplicated": doubled, "hashes_equal": equal}


def soak(folder: Path, kills: int, restarts: int, seed: int) -> dict[str, Any]:
    """One calm run and one struck run of the same faulty log."""
    log = prepare_tiny(folder, tiny_events())
    bundle_tiny(log, folder / "bundle", epochs=1)
    # An event without an id is named after its topic, and these runs have one each.
    faulty = faulty_log(log, RATES.model_copy(update={"without_event_id": 0.0}))
    messages: Messages = {partition: list(some) for partition, some in enumerate(faulty.messages)}
    with LocalBroker(folder / "broker") as broker:
        calm, struck = (_made(broker, folder / name, folder / "bundle") for name in ("calm", "struck"))
        calm.produce(messages)
        calm.flow("summarize", "--drain")
        calm.flow("adapt")
        flows = Flows(struck, folder / "logs")
        flows.logs.mkdir()
        try:
            disturb(flows, broker, messages, kills, restarts, random.Random(seed))
        finally:
            flows.end()
        accounting = struck.flow("summarize", "--drain", timeout=300)["accounting"]
        struck.flow("adapt", timeout=300)
        expected = {name: getattr(faulty.expected, name) for name in ("read", "used", "late", "duplicate", "dead")}
        return {
            "events": faulty.expected.read, **figures(calm, struck, faulty.expected.used),
            "accounting_as_expected": accounting == {**expected, "pending": 0}, "kills": flows.killed,
        }  # fmt: skip


def main() -> None:
    """Run the soak, write its figures, and say so by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--broker-restarts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dynmm-soak-") as folder:
        found = soak(Path(folder), given.kills, given.broker_restarts, given.seed)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    found = {
        "kills": found.pop("kills"), "broker_restarts": given.broker_restarts, **found,
        "seconds": round(time.monotonic() - begun, 1), "seed": given.seed, "commit": commit or None, "command": "make soak",
    }  # fmt: skip
    print(json.dumps(found, indent=2))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=2) + "\n")
    sound = found["hashes_equal"] and found["accounting_as_expected"] and not found["lost"] and not found["duplicated"]
    sys.exit(0 if sound else 3)


def _made(broker: LocalBroker, folder: Path, bundle: Path) -> LiveRun:
    folder.mkdir()
    run = LiveRun(broker.bootstrap, folder, bundle)
    run.make_topics(PARTITIONS)
    return run


if __name__ == "__main__":
    main()
