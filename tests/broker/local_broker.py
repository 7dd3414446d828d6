"""A real Kafka broker of one node on loopback, for tests and benchmarks.

As a program it prints one JSON line when it is ready, and stops its broker when its stdin closes or on SIGTERM:
``python local_broker.py --folder DIR [--heap 512m]``.
"""

import argparse
import base64
import json
import os
import select
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from broker_settings import SETTINGS, Addresses, free_addresses, properties
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from guarded import Guarded
from kafka_libs import archive_flag, kafka_libs, keep_archive, missing_tools

_READY_LIMIT_S = 120.0  # seconds are usual; a machine under load takes its time
_STOP_LIMIT_S = 30.0
_TRIES = 5


class LocalBroker:
    """One broker with its data, log and settings in a folder that must not hold a broker yet; ports stay over restarts.

    Settings are Kafka's own (``server.properties``) and win over ``broker_settings.SETTINGS``.
    The broker dies with the process that started it.
    """

    def __init__(self, folder: Path, heap: str = "512m", settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.log = folder / "broker.log"
        self._heap = heap
        self._settings = {**SETTINGS, **(settings or {})}
        self._cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._addresses: Addresses | None = None
        self._process: Guarded | None = None
        self._log_start = 0

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:PORT``; RuntimeError before the first start."""
        if self._addresses is None:
            raise RuntimeError(f"{self.folder}: this broker was never started")
        return self._addresses.broker

    @property
    def pid(self) -> int:
        """The Java process; RuntimeError where none runs."""
        return self._running().pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Start the broker and wait until it answers; RuntimeError, with the log's tail, where it does not."""
        if self.running:
            raise RuntimeError(f"{self.folder}: this broker runs already")
        if self._addresses is not None:
            return self._launch()
        if (self.folder / "data").exists():
            raise RuntimeError(f"{self.folder}: holds a broker's data already; name another folder")
        for tries_left in reversed(range(_TRIES)):
            try:
                self._addresses = free_addresses()
                self._format()
                return self._launch()
            except BaseException as error:
                self._addresses = None
                shutil.rmtree(self.folder / "data", ignore_errors=True)
                if not (tries_left and isinstance(error, RuntimeError) and "Address already in use" in self._said()):
                    raise
        raise AssertionError("the last try returns or raises")

    def stop(self) -> None:
        """End the broker in order, paused or not; nothing happens where none runs."""
        if self._process is None or not self._process.running:
            return
        self._process.signal(signal.SIGTERM)
        self._process.signal(signal.SIGCONT)
        if self._process.wait(_STOP_LIMIT_S):
            keep_archive(kafka_libs(), self._cluster)
        else:
            self._process.kill()

    def kill(self) -> None:
        """End the broker at once, as a crash would (SIGKILL)."""
        self._running().kill()

    def pause(self) -> None:
        """Freeze the broker: its connections stay open and nothing answers (SIGSTOP)."""
        self._running().pause()

    def resume(self) -> None:
        """Let a frozen broker go on (SIGCONT)."""
        self._running().signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop the broker in order, where it still runs, and start it again on its ports and data."""
        self.stop()
        self.start()

    def create_topic(self, name: str, partitions: int = 1, settings: Mapping[str, str] | None = None) -> None:
        """Create a topic and wait until every partition has a leader."""
        admin = self._admin()
        admin.create_topics([NewTopic(name, partitions, 1, config=dict(settings or {}))])[name].result()
        self._await_ready(admin, (name, partitions))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _running(self) -> Guarded:
        if self._process is None or not self._process.running:
            raise RuntimeError(f"{self.folder}: this broker does not run\n{self._log_tail()}")
        return self._process

    def _format(self) -> None:
        assert self._addresses is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.properties").write_text(
            properties(self._settings, self._addresses, self.folder.resolve() / "data")
        )
        tool = self._java(
            "kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={self._cluster}", "-c", self._properties
        )
        if not tool.wait(_READY_LIMIT_S):
            tool.kill()
        if tool.returncode != 0:
            raise RuntimeError(f"{self.folder}: the broker's data folder could not be made\n{self._log_tail()}")

    def _launch(self) -> None:
        self._process = self._java(archive_flag(kafka_libs(), self._cluster), "kafka.Kafka", self._properties)
        try:
            self._await_ready(self._admin())
        except BaseException:
            self._process.kill()
            raise

    def _await_ready(self, admin: AdminClient, topic: tuple[str, int] | None = None) -> None:
        """Wait until this broker, and no stranger on its port, knows itself, every partition's leader, and the topic named."""
        deadline = time.monotonic() + _READY_LIMIT_S
        while time.monotonic() < deadline:
            self._running()
            try:
                metadata = admin.list_topics(timeout=1)
            except KafkaException:
                continue
            leaders = [part.leader for found in metadata.topics.values() for part in found.partitions.values()]
            known = topic is None or (topic[0] in metadata.topics and len(metadata.topics[topic[0]].partitions) == topic[1])
            if metadata.cluster_id == self._cluster and metadata.brokers and -1 not in leaders and known:
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.folder}: the broker did not get ready within {_READY_LIMIT_S:.0f} s\n{self._log_tail()}")

    def _admin(self) -> AdminClient:
        return AdminClient(
            {
                "bootstrap.servers": self.bootstrap,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "log_level": 0,  # a refused connection is what waiting looks like
                "error_cb": lambda _: None,
            }
        )

    @property
    def _properties(self) -> str:
        return str(self.folder / "server.properties")

    def _java(self, *arguments: str) -> Guarded:
        flags = [f"-Xmx{self._heap}", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
        flags += ["-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"]
        libs = kafka_libs()
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            return Guarded(["java", *flags, "-cp", f"{libs}/*", *arguments], output)

    def _said(self) -> str:
        """What the last Java process wrote to the log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _log_tail(self) -> str:
        return self._said()[-6000:]


def main() -> None:
    """Run a broker until stdin closes or a signal comes; exit code 1 where the broker ends before that."""
    parser = argparse.ArgumentParser(description="A real Kafka broker of one node; stops when stdin closes.")
    parser.add_argument("--folder", type=Path, required=True, help="where data, log and settings go; must not hold a broker yet")
    parser.add_argument("--heap", default="512m", help="Java's heap limit")
    options = parser.parse_args()
    if missing := missing_tools():
        parser.error(f"{' and '.join(missing)} not found: a broker needs Java 17 or later, and Maven to fetch it")

    def leave(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    with LocalBroker(options.folder, options.heap) as broker:
        print(json.dumps({"bootstrap": broker.bootstrap, "pid": broker.pid}), flush=True)
        stdin = sys.stdin.fileno()
        while broker.running:
            if select.select([stdin], [], [], 0.5)[0] and not os.read(stdin, 4096):
                return
    raise SystemExit(f"{options.folder}: the broker has ended by itself; see {broker.log}")


if __name__ == "__main__":
    main()
