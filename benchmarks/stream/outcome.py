"""What a stream has sent, added up: engines that read the same events must come to the same."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import TopicPartition

from dynmm_core.windows.pairs import Pairs
from flows.kafka.clients import bounds_of, open_consumer, partitions_of
from flows.kafka.settings import KafkaSettings
from flows.kafka.wire import Record

_WAIT_S = 1.0
Sent = tuple[str, str, bytes]  # bucket, kind of message ("end" for a marker), value


def add_up(sent: Iterable[Sent]) -> dict[str, int]:
    """Events, slides, counts, pairs and their weights of the messages; those of a bucket in their order."""
    sums: Counter[str] = Counter()
    waiting: dict[str, dict[str, list[pa.Table]]] = {}
    for shard, kind, value in sent:
        tables = waiting.setdefault(shard, {})
        if kind == "end":
            marker = orjson.loads(value)
            sums.update(used=marker["events"], duplicates=marker["duplicates"], slides=int(marker["chunks"] > 0))
            sums.update(_sums(waiting.pop(shard)))
        elif kind in ("items", "counts", "pairs"):
            with pa.ipc.open_stream(value) as reader:
                tables.setdefault(kind, []).append(reader.read_all())
    return dict(sums)


def write_sent(file: BinaryIO, record: Record) -> None:
    """Append a summary to a file of them."""
    kind = dict(record.headers).get("kind", b"end").decode()
    file.write(f"{_shard_of(record.key)} {kind} {len(record.value)}\n".encode())
    file.write(record.value)


def read_sent(path: Path) -> Iterator[Sent]:
    """What :func:`write_sent` wrote."""
    with path.open("rb") as file:
        while head := file.readline():
            shard, kind, size = head.decode().split()
            yield shard, kind, file.read(int(size))


def read_topic(settings: KafkaSettings) -> Iterator[Sent]:
    """Every summary in the topic."""
    consumer = open_consumer(settings)
    try:
        for partition in partitions_of(consumer, settings.summaries):
            first, end = bounds_of(consumer, settings.summaries, partition)
            consumer.assign([TopicPartition(settings.summaries, partition, first)])
            while first < end:
                messages = [one for one in consumer.consume(100, timeout=_WAIT_S) if one.error() is None]
                if not messages:
                    raise RuntimeError(f"kafka: {settings.summaries}/{partition} ends before offset {end}")
                for message in messages:
                    kind = dict(message.headers() or ()).get("kind", b"end").decode()
                    yield _shard_of(message.key()), kind, message.value()
                first = messages[-1].offset() + 1
    finally:
        consumer.close()


def _sums(tables: dict[str, list[pa.Table]]) -> dict[str, int]:
    """The sums of one bucket's slide: pairs are of places among its items."""
    sums = {"counted": sum(int(pc.sum(table["events"]).as_py() or 0) for table in tables.get("counts", []))}
    if "pairs" in tables:
        items = pa.concat_tables(tables["items"])["item_hash"].to_numpy()
        pairs = [Pairs.from_codes(items, table) for table in tables["pairs"]]
        found = [one.to_table() for one in pairs]
        sums["pairs"] = sum(map(len, pairs))
        for name in ("rule", "co_click"):
            sums[name] = sum(int(table[name].to_numpy().sum()) for table in found)
    return sums


def _shard_of(key: bytes) -> str:
    return key.decode().rsplit("/", 3)[1]
