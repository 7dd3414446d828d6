"""A tiny log on a real broker, the dataflows as processes of their own, and what they have left behind."""

import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.events.decode import concat_events
from dynmm_core.events.hashing import hash64
from dynmm_core.store import LatentStore
from flows.kafka.settings import KafkaSettings

REPOSITORY = Path(__file__).parents[2]
SLIDE_MS = 3_600_000
MAX_BYTES = 4_194_304
TOPICS = ("interactions", "summaries", "dead_letters", "late_events", "versions")


@dataclass
class LiveRun:
    """Topics and folders of one run. ``flow`` starts a dataflow as a user would; ``env`` may arm a crash point."""

    bootstrap: str
    folder: Path
    bundle: Path
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    run: str = "replay"
    interactions: str | None = None
    summaries_topic: str | None = None
    detectors: str = "off"  # each import of River takes a second and a half

    @property
    def settings(self) -> KafkaSettings:
        names = {topic: f"{topic}-{self.name}" for topic in TOPICS}
        shared = {"interactions": self.interactions, "summaries": self.summaries_topic}
        names |= {topic: name for topic, name in shared.items() if name is not None}
        return KafkaSettings(bootstrap=self.bootstrap, **names)

    def beside(self, folder: Path) -> "LiveRun":
        """Another run of the same interactions, with topics and folders of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        other = LiveRun(self.bootstrap, folder, self.bundle, run=self.run, interactions=self.settings.interactions)
        other.make_topics(1)
        return other

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def make_topics(self, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        config = {"retention.ms": "-1", "max.message.bytes": str(MAX_BYTES)}
        names = {getattr(self.settings, topic): partitions if topic == "interactions" else 1 for topic in TOPICS}
        names = {name: count for name, count in names.items() if name not in (self.interactions, self.summaries_topic)}
        made = admin.create_topics([NewTopic(name, count, 1, config=config) for name, count in names.items()])
        for future in made.values():
            future.result()

    def options(self, *more: str) -> list[str]:
        topics = [part for topic in TOPICS for part in (f"--{topic.replace('_', '-')}", getattr(self.settings, topic))]
        return [
            "--bootstrap", self.bootstrap, *topics, "--run", self.run, "--slide", "1h", "--start", "earliest",
            "--recovery", str(self.folder / "recovery"), "--allowed-lateness", "1m", "--max-train-events", "off",
            "--idle-after", "off", "--batch-size", "100", *more,
        ]  # fmt: skip

    def command(self, kind: str, *more: str) -> list[str]:
        learning = [] if kind == "summarize" else ["--bundle", str(self.bundle), "--out", str(self.out), "--threads", "1"]
        learning += [] if kind == "summarize" else ["--detectors", self.detectors]
        return [sys.executable, "-m", "dynmm_core.cli", "flow", "run", kind, *self.options(*learning, *more), "--json"]

    @staticmethod
    def environment(**env: str) -> dict[str, str]:
        """That of a flow's process, which finds this repository's modules."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]), **env}

    def start(self, kind: str, *more: str, **env: str) -> subprocess.Popen[str]:
        environment = self.environment(**env)
        return subprocess.Popen(
            self.command(kind, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )  # fmt: skip

    def flow(self, kind: str, *more: str, status: int = 0, timeout: float = 90, **env: str) -> dict[str, Any]:
        process = self.start(kind, *more, **env)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{kind} did not end:\n{process.communicate()[1][-3000:]}") from None
        assert process.returncode == status, err[-3000:]
        return dict(json.loads(out)) if status == 0 else {"stderr": err}

    def produce(self, messages: dict[int, Sequence[tuple[bytes | None, int]]]) -> None:
        """Write (value, timestamp) messages to the partitions."""
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5, "message.max.bytes": MAX_BYTES}
        )
        for partition, values in messages.items():
            for value, timestamp in values:
                producer.produce(self.settings.interactions, value, partition=partition, timestamp=timestamp)
                producer.poll(0)
        producer.flush()

    def versions(self) -> list[tuple[int, str]]:
        return [(version.slide_end_ms, version.content_hash) for version in LatentStore.open(self.out / "store").active()]

    def summaries(self) -> dict[str, str]:
        """Every key of the summaries topic with the hash of its content; a key that comes again must be equal."""
        found: dict[str, str] = {}
        for key, value in self.read(self.settings.summaries):
            if key.endswith(b"/end"):
                marker = json.loads(value)
                if not marker["chunks"]:
                    continue  # says only that nothing lies between two slides: how many of these there are is timing
                value = json.dumps([marker["digest"], marker["events"], marker["duplicates"]]).encode()
            digest = hashlib.sha256(value).hexdigest()
            assert found.setdefault(key.decode(), digest) == digest, key
        return found

    def read(self, topic: str, partition: int = 0) -> list[tuple[bytes, bytes]]:
        """Every message of a partition."""
        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "test", "enable.partition.eof": True, "fetch.wait.max.ms": 20,
        })  # fmt: skip
        consumer.assign([TopicPartition(topic, partition, 0)])
        found = []
        while True:
            for message in consumer.consume(500, timeout=0.1):
                if message.error() is not None:
                    consumer.close()
                    return found
                found.append((message.key() or b"", message.value()))


def json_messages(log: PreparedLog, partitions: int) -> dict[int, list[tuple[bytes, int]]]:
    """The online part of a log as one JSON message per event, by partition of its user."""
    table = log.read(["event_time_ms", "event_id", "user_id", "item_id"], log.cut_row, log.rows)
    events = concat_events(table.to_batches())
    homes = hash64(events["user_id"]) % partitions
    messages: dict[int, list[tuple[bytes, int]]] = {partition: [] for partition in range(partitions)}
    for home, row in zip(homes.tolist(), events.to_pylist(), strict=True):
        messages[home].append((json.dumps(row).encode(), row["event_time_ms"]))
    return messages
