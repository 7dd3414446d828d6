"""Where our engines read from: columns in memory, a file of JSON lines, Parquet, or a topic; runs of one partition at a time."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaError, TopicPartition

from flows.kafka.clients import bounds_of, open_consumer, partitions_of
from flows.kafka.settings import KafkaSettings

BATCH_ROWS = 65_536
_BLOCK_BYTES = 1 << 20
_CALL_MESSAGES = 2_000


def load_batches(path: str) -> list[pa.RecordBatch]:
    """All columns of a Parquet file, in memory."""
    return list(parquet_batches(path))


def parquet_batches(path: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The batches of a Parquet file, one after the other."""
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)


def line_blocks(path: str) -> Iterator[bytes]:
    """A file of lines in blocks of whole lines."""
    rest = b""
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            end = block.rfind(b"\n") + 1
            if end:
                yield rest + block[:end]
                rest = block[end:]
            else:
                rest += block
    if rest:
        yield rest


def topic_values(bootstrap: str, topic: str) -> Iterator[tuple[int, list[bytes]]]:
    """(partition, values) of a topic up to its end, partitions in turn so that none runs far ahead."""
    settings = KafkaSettings(bootstrap=bootstrap, interactions=topic)
    consumers = dict(_open(settings, topic))
    while consumers:
        for partition, consumer in list(consumers.items()):
            messages = consumer.consume(_CALL_MESSAGES, timeout=0.02)
            ended = bool(messages) and _is_end(messages[-1])
            if values := [message.value() for message in (messages[:-1] if ended else messages)]:
                yield partition, values
            if ended:
                consumers.pop(partition).close()


def _open(settings: KafkaSettings, topic: str) -> Iterator[tuple[int, Consumer]]:
    probe = open_consumer(settings)
    partitions = partitions_of(probe, topic)
    starts = {partition: bounds_of(probe, topic, partition)[0] for partition in partitions}
    probe.close()
    for partition in partitions:
        consumer = open_consumer(settings, len(partitions))
        consumer.assign([TopicPartition(topic, partition, starts[partition])])
        yield partition, consumer


def _is_end(message: Any) -> bool:
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise RuntimeError(f"kafka: {error.str()}")
    return error is not None
