"""Logs in a real topic: byte for byte, in each partition's order, with their timestamps; and failures that are told."""

import time
from typing import Any, cast

import pyarrow as pa
import pytest
from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_CREATE_TIME, Consumer, KafkaError, Producer, TopicPartition
from local_broker import LocalBroker

from dynmm_core.cli import main
from dynmm_core.errors import UserError
from dynmm_core.events.hashing import hash64
from dynmm_core.events.letters import Origin
from dynmm_core.events.messages import decode_messages
from simulators.faults import FaultRates, inject
from simulators.faulty_log import Message
from simulators.kafka_output import Format, produce_log, produce_messages
from simulators.output import as_table
from simulators.sender import count_partitions, open_producer
from simulators.settings import StreamSettings
from simulators.stream import draw_stream
from simulators.world import make_world

PARTITIONS = 3
RATES = FaultRates(
    late=0.02, out_of_order=0.1, malformed=0.05, future=0.01, oversized=0.002, without_event_id=0.02, duplicate=0.05,
    roaming=0.1, idle_after={1: 0.5},
)  # fmt: skip


@pytest.fixture(scope="module")
def stream() -> pa.Table:
    stream = draw_stream(make_world(StreamSettings(events=5_000, users=300, items=120, online_hours=6)))
    return as_table(stream).drop_columns(["ingest_time_ms"])


def read_topic(broker: LocalBroker, topic: str, partitions: int = PARTITIONS) -> list[list[Message]]:
    """Every message of every partition, to its end."""
    settings = {"group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True}
    reader = Consumer({"bootstrap.servers": broker.bootstrap, "fetch.wait.max.ms": 20, **settings})
    read: list[list[Message]] = [[] for _ in range(partitions)]
    at_end: set[int] = set()
    deadline = time.monotonic() + 60
    try:
        reader.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
        while len(at_end) < partitions:
            assert time.monotonic() < deadline
            for message in reader.consume(1_000, timeout=0.2):
                if message.error() is not None:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    at_end.add(message.partition())
                    continue
                kind, timestamp = message.timestamp()
                assert kind == TIMESTAMP_CREATE_TIME
                assert message.offset() == len(read[message.partition()])
                read[message.partition()].append(Message(message.value(), timestamp))
    finally:
        reader.close()
    return read


def test_a_faulty_log_is_read_back_byte_for_byte(broker: LocalBroker, stream: pa.Table) -> None:
    broker.create_topic("faulty", PARTITIONS)
    log = inject(stream, RATES, 0, PARTITIONS, 900_000, 60_000, 3_600_000)
    assert log.expected.oversized == 10
    sent = produce_messages(open_producer(broker.bootstrap), "faulty", log)
    assert sent.messages == log.expected.read
    assert [tuple(messages) for messages in read_topic(broker, "faulty")] == list(log.messages)


@pytest.mark.parametrize("format", ["json", "arrow"])
def test_a_log_is_read_back_event_by_event_in_its_users_partitions(broker: LocalBroker, stream: pa.Table, format: Format) -> None:
    topic = f"log-{format}"
    broker.create_topic(topic, PARTITIONS)
    sent = produce_log(stream, broker.bootstrap, topic, format=format, batch=100, start_row=500)
    assert sent.events == 4_500 and (sent.messages == 4_500 if format == "json" else 45 <= sent.messages <= 60)
    partitions = hash64(stream["user_id"]) % PARTITIONS
    columns = ["event_time_ms", "event_id", "user_id", "item_id"]
    for number, messages in enumerate(read_topic(broker, topic)):
        decoded = decode_messages([message.value for message in messages], Origin(topic, number, range(len(messages))))
        mine = stream.slice(500).filter(pa.array(partitions[500:] == number)).select(columns)
        assert pa.Table.from_batches([decoded.events]).select(columns).to_pylist() == mine.to_pylist()
        if format == "json":
            assert [message.timestamp_ms for message in messages] == mine["event_time_ms"].to_pylist()
        else:
            assert max(len(message.value) for message in messages) < 20_000
            assert messages[-1].timestamp_ms == mine["event_time_ms"][-1].as_py()


def test_ingest_time_is_the_timestamp_where_it_is_known(broker: LocalBroker, stream: pa.Table) -> None:
    broker.create_topic("ingested", 1)
    events = stream.slice(0, 10)
    known = [None if row % 2 else time + 7 for row, time in enumerate(events["event_time_ms"].to_pylist())]
    produce_log(events.append_column("ingest_time_ms", pa.array(known, pa.int64())), broker.bootstrap, "ingested")
    stamps = [message.timestamp_ms for message in read_topic(broker, "ingested", 1)[0]]
    assert stamps == [given or time for given, time in zip(known, events["event_time_ms"].to_pylist(), strict=True)]


def test_speed_spreads_a_log_over_the_time_asked_for(broker: LocalBroker, stream: pa.Table) -> None:
    broker.create_topic("paced", PARTITIONS)
    span_s = (stream["event_time_ms"][-1].as_py() - stream["event_time_ms"][0].as_py()) / 1_000
    sent = produce_log(stream, broker.bootstrap, "paced", speed=span_s)
    assert sent.seconds >= 1.0  # the span in one second, less can only be a mistake
    assert sum(map(len, read_topic(broker, "paced"))) == 5_000


def test_everything_arrives_though_the_broker_dies_on_the_way(own_broker: LocalBroker, stream: pa.Table) -> None:
    own_broker.create_topic("killed", PARTITIONS)
    log = inject(stream, RATES, 0, PARTITIONS, 900_000, 60_000, 3_600_000)
    producer = open_producer(own_broker.bootstrap)
    assert count_partitions(producer, "killed") == PARTITIONS

    produced = 0

    class Killing:
        """The producer, with the broker killed while messages are on their way and started again while more are queued."""

        def produce(self, *arguments: Any, **options: Any) -> None:
            nonlocal produced
            produced += 1
            if produced == 3_000:
                assert producer.flush(0.05) >= 0  # some have arrived, some may not have
                own_broker.kill()
            if produced == 4_000:
                own_broker.start()
            producer.produce(*arguments, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(producer, name)

    produce_messages(cast(Producer, Killing()), "killed", log)
    assert produced == log.expected.read
    assert [tuple(messages) for messages in read_topic(own_broker, "killed")] == list(log.messages)


def test_what_is_missing_is_told(broker: LocalBroker, stream: pa.Table) -> None:
    with pytest.raises(UserError, match="there is no topic nowhere"):
        produce_log(stream, broker.bootstrap, "nowhere")
    with pytest.raises(UserError, match="no broker answers"):
        count_partitions(open_producer("127.0.0.1:1"), "any", longest_s=0.5)
    broker.create_topic("two", 2)
    log = inject(stream, FaultRates(), 0, PARTITIONS, 900_000, 60_000, None)
    with pytest.raises(UserError, match="two has 2 partitions, the faulty log 3"):
        produce_messages(open_producer(broker.bootstrap), "two", log)


def test_a_message_that_cannot_be_delivered_is_told(broker: LocalBroker, stream: pa.Table) -> None:
    broker.create_topic("small", 1, {"max.message.bytes": "1000"})
    with pytest.raises(UserError, match="not delivered"):
        produce_log(stream, broker.bootstrap, "small", properties={"compression.type": "none"})


def test_the_command_sends_what_it_says(broker: LocalBroker, capsys: pytest.CaptureFixture[str]) -> None:
    broker.create_topic("simulated", PARTITIONS)
    arguments = ["--events", "2000", "--users", "100", "--items", "60", "--part", "online", "--topic", "simulated", "--json"]
    with pytest.raises(SystemExit) as stopped:
        main(["simulate", *arguments, "--to-kafka", broker.bootstrap, "--property", "linger.ms=5"])
    assert not stopped.value.code
    assert '"events_sent": 600' in capsys.readouterr().out
    assert sum(map(len, read_topic(broker, "simulated"))) == 600
