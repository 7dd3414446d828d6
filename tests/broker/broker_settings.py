"""What a broker for tests is told: Kafka's settings, and ports of its own."""

import random
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SETTINGS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "BROKER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # Event times of old logs lie years back: by the default of seven days they would be deleted under the reader.
    "log.retention.ms": "-1",
    "log.cleaner.dedupe.buffer.size": "4194304",  # by default a quarter of a small heap
    # Back in seconds after kill -9.
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "200",
    "controller.quorum.election.timeout.ms": "200",
    "controller.quorum.fetch.timeout.ms": "500",
}


class Addresses(NamedTuple):
    """Where a broker listens: for clients, and for its own controller."""

    broker: str
    controller: str


def properties(settings: Mapping[str, str], addresses: Addresses, data: Path) -> str:
    """The text of ``server.properties``."""
    listeners = f"BROKER://{addresses.broker},CONTROLLER://{addresses.controller}"
    places = {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "controller.quorum.bootstrap.servers": addresses.controller,
        "log.dirs": str(data),
    }
    return "".join(f"{key}={value}\n" for key, value in {**settings, **places}.items())


def free_addresses() -> Addresses:
    """Two loopback addresses that nothing listens on.

    Their ports lie below those the kernel gives to connections, so no connection takes them while the broker is down.
    """
    found: set[str] = set()
    while len(found) < 2:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.add(f"127.0.0.1:{port}")
    return Addresses(*found)
