"""The broker behaves as the flows count on, and leaves no process behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import local_broker
import pytest
from broker_settings import Addresses
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, Message, Producer, TopicPartition
from local_broker import LocalBroker

PROGRAM = Path(local_broker.__file__)


class Sender:
    """A producer that waits for all acknowledgements and keeps every failed delivery."""

    def __init__(self, broker: LocalBroker, **settings: str) -> None:
        quiet = {"log_level": 0, "reconnect.backoff.max.ms": 200}
        self.producer = Producer(
            {"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "acks": "all", **quiet, **settings}
        )
        self.failures: list[KafkaError] = []

    def send(self, topic: str, values: Iterable[int], partition: int = 0) -> None:
        for value in values:
            self.producer.produce(topic, str(value).encode(), partition=partition, on_delivery=self._delivered)

    def flushed(self) -> bool:
        """Whether everything was acknowledged."""
        return self.producer.flush(60) == 0 and not self.failures

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self.failures.append(error)


def read_all(
    broker: LocalBroker, topic: str, count: int, partitions: int = 1, isolation: str = "read_committed"
) -> list[list[int]]:
    """Each partition's values, from its begin to its end and at least ``count`` in all."""
    settings = {"group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True, "isolation.level": isolation}
    reader = Consumer({"bootstrap.servers": broker.bootstrap, "fetch.wait.max.ms": 20, **settings})
    values: list[list[int]] = [[] for _ in range(partitions)]
    at_end: set[int] = set()
    deadline = time.monotonic() + 30
    try:
        reader.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
        while (len(at_end) < partitions or sum(map(len, values)) < count) and time.monotonic() < deadline:
            for message in reader.consume(1000, timeout=0.2):
                error = message.error()
                if error is None:
                    at_end.discard(message.partition())
                    values[message.partition()].append(int(message.value()))
                else:
                    assert error.code() == KafkaError._PARTITION_EOF
                    at_end.add(message.partition())
    finally:
        reader.close()
    return values


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def wait_until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_twelve_partitions_are_read_back_each_in_its_order(broker: LocalBroker) -> None:
    broker.create_topic("twelve", 12)
    sender = Sender(broker)
    sent = [list(range(number * 1000, number * 1000 + 50 + number)) for number in range(12)]
    for number, values in enumerate(sent):
        sender.send("twelve", values, number)
    assert sender.flushed()
    assert read_all(broker, "twelve", sum(map(len, sent)), 12) == sent


def test_aborted_transaction_is_hidden_from_readers_of_committed_messages_alone(broker: LocalBroker) -> None:
    broker.create_topic("transactions")
    sender = Sender(broker, **{"transactional.id": "test"})
    producer = sender.producer
    producer.init_transactions()
    for value, end in [(1, producer.commit_transaction), (2, producer.abort_transaction), (3, producer.commit_transaction)]:
        producer.begin_transaction()
        sender.send("transactions", [value])
        assert sender.flushed()
        end()
    assert read_all(broker, "transactions", 2) == [[1, 3]]
    assert read_all(broker, "transactions", 3, isolation="read_uncommitted") == [[1, 2, 3]]


def test_offsets_for_times_finds_the_first_message_not_older(broker: LocalBroker) -> None:
    broker.create_topic("times")
    producer = Sender(broker).producer
    times = [1_000, 3_000, 2_000, 5_000]
    for time_ms in times:
        producer.produce("times", b"", timestamp=time_ms)
    assert producer.flush(60) == 0
    reader = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "unused"})
    asked = {1: 0, 1_001: 1, 3_000: 1, 3_001: 3, 5_000: 3, 5_001: OFFSET_END}
    try:
        places = [reader.offsets_for_times([TopicPartition("times", 0, time_ms)], timeout=30)[0] for time_ms in asked]
    finally:
        reader.close()
    assert [place.offset for place in places] == list(asked.values())


def test_restart_and_kill_minus_9_keep_every_acknowledged_message(own_broker: LocalBroker) -> None:
    own_broker.create_topic("kept")
    address, sender = own_broker.bootstrap, Sender(own_broker)
    sender.send("kept", range(1000))
    assert sender.flushed()
    own_broker.restart()
    assert own_broker.bootstrap == address
    assert read_all(own_broker, "kept", 1000) == [list(range(1000))]

    sender.send("kept", range(1000, 2000))
    assert sender.flushed()
    sender.send("kept", range(2000, 3000))  # under way, at whatever point, when the broker dies
    own_broker.kill()
    assert not own_broker.running
    sender.send("kept", range(3000, 4000))
    own_broker.start()
    assert sender.flushed()
    assert read_all(own_broker, "kept", 4000) == [list(range(4000))]


def test_flush_waits_for_a_frozen_broker_and_everything_arrives(own_broker: LocalBroker) -> None:
    own_broker.create_topic("frozen")
    sender = Sender(own_broker)
    sender.send("frozen", range(10))
    assert sender.flushed()
    own_broker.pause()
    sender.send("frozen", range(10, 110))
    assert sender.producer.flush(1) == 100
    own_broker.resume()
    assert sender.flushed()
    assert read_all(own_broker, "frozen", 110) == [list(range(110))]


def test_taken_port_at_the_first_start_is_exchanged(broker: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = local_broker.free_addresses()
    offers = iter([Addresses(broker.bootstrap, local_broker.free_addresses().controller), free])
    monkeypatch.setattr(local_broker, "free_addresses", lambda: next(offers))
    with LocalBroker(tmp_path / "broker") as other:
        assert other.bootstrap == free.broker
    with pytest.raises(RuntimeError, match="holds a broker's data already"):
        LocalBroker(tmp_path / "broker").start()


@pytest.mark.usefixtures("broker_tools")
def test_failed_start_shows_the_log_and_leaves_nothing_running(tmp_path: Path) -> None:
    broken = LocalBroker(tmp_path / "broker", settings={"num.io.threads": "none"})
    with pytest.raises(RuntimeError, match=r"(?s)could not be made.*Invalid value none for configuration num\.io\.threads"):
        broken.start()
    assert not broken.running


@pytest.mark.usefixtures("broker_tools")
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
@pytest.mark.parametrize("end", ["stdin closes", signal.SIGTERM, signal.SIGKILL])
def test_program_leaves_no_broker_behind(end: str | signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), "--folder", str(tmp_path / "broker"), "--heap", "256m"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None and program.stdout is not None
        try:
            ready = json.loads(program.stdout.readline())
            assert alive(ready["pid"]) and ready["bootstrap"].startswith("127.0.0.1:")
        finally:
            if isinstance(end, signal.Signals):
                os.kill(program.pid, end)
            else:
                program.stdin.close()
        assert program.wait(60) == (-signal.SIGKILL if end == signal.SIGKILL else 0)
    assert wait_until(lambda: not alive(ready["pid"]))
    in_order = "shut down completed" in (tmp_path / "broker" / "broker.log").read_text()
    assert in_order == (end != signal.SIGKILL)
