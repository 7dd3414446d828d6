"""Letters of a partition as they lie on the wire: one key for each, and every one of them sent back."""

from typing import Any

import orjson
import pyarrow as pa
import pytest

from dynmm_core.events.encode import encode_arrow, encode_json
from dynmm_core.events.letters import BadEvent
from dynmm_core.events.wire import MAX_ARROW_BYTES, MAX_EVENT_BYTES, MAX_FIELDS
from dynmm_core.windows.clock import DRAINED_MS
from dynmm_core.windows.intake import Taken
from dynmm_core.windows.messages import Chunk
from dynmm_core.windows.partition import PartitionReader, ReadSettings
from dynmm_core.windows.progress import start_point
from dynmm_core.windows.shard import ShardSettings, ShardWindow
from dynmm_core.windows.slides import SlideAssembler
from flows.kafka import clients, redrive, topics
from flows.kafka.settings import KafkaSettings
from flows.kafka.wire import Record, dead_record, late_record, record_of

HOUR = 3_600_000
SETTINGS = KafkaSettings(bootstrap="localhost:9092")


def batch(times: list[int], users: list[str | None]) -> pa.RecordBatch:
    columns = {"event_time_ms": times, "user_id": users, "item_id": ["i"] * len(times), "ingest_time_ms": [5 * HOUR] * len(times)}
    return pa.RecordBatch.from_pydict(columns)


def taken_in(messages: list[bytes], together: bool = True) -> list[Taken]:
    """What becomes of these messages, from offset 40 on, with slides of an hour and a skew of an hour."""
    reader = PartitionReader("clicks", start_point(2, 40), ReadSettings(HOUR, 0, HOUR))
    if together:
        return reader.read(messages, range(40, 40 + len(messages)), None, 40 + len(messages))
    return [
        one
        for place, message in enumerate(messages, 40)
        for one in reader.read([message], range(place, place + 1), None, place + 1)
    ]


def records(taken: list[Taken]) -> list[Record]:
    return [dead_record(letter) for one in taken for letter in one.dead] + [
        late_record(late) for one in taken for late in one.late
    ]


@pytest.mark.parametrize("together", [True, False])
def test_every_letter_of_an_arrow_message_has_a_key_that_names_its_row(together: bool) -> None:
    last, early, future = 5 * HOUR, 5, 9 * HOUR
    bad = batch([last, last, future, early, last, future, early], ["u", None, "u", "u", "", "u", "v"])
    plain = batch([last, early, future, last], ["w", "w", "w", ""])
    messages = [encode_arrow(bad), encode_arrow(plain.slice(1, 1)), *encode_json(plain), b"{", encode_arrow(plain)[:-1]]
    found = records(taken_in(messages, together))
    dead, late = ([record.key.decode() for record in found if name in dict(record.headers)] for name in ("reason", "late_by_ms"))
    assert sorted(dead) == [
        "clicks/2/40/1", "clicks/2/40/2", "clicks/2/40/4", "clicks/2/40/5",
        "clicks/2/44", "clicks/2/45", "clicks/2/46", "clicks/2/47",
    ]  # fmt: skip
    assert sorted(late) == ["clicks/2/40/3", "clicks/2/40/6", "clicks/2/41", "clicks/2/43"]


class Letter:
    """A message of the dead-letters topic, as the client has it."""

    def __init__(self, offset: int, record: Record) -> None:
        self._offset, self._record = offset, record

    def key(self) -> bytes:
        return self._record.key

    def value(self) -> bytes:
        return self._record.value

    def headers(self) -> list[tuple[str, bytes]]:
        return self._record.headers

    def offset(self) -> int:
        return self._offset

    def error(self) -> None:
        return None


class Broker:
    """Consumer and producer of one pass over letters."""

    def __init__(self, letters: list[Record]) -> None:
        self._letters = [Letter(offset, record) for offset, record in enumerate(letters)]
        self.sent: list[tuple[bytes, bytes]] = []

    def assign(self, places: list[Any]) -> None:
        assert len(places) == 1

    def consume(self, most: int, timeout: float) -> list[Letter]:
        return self._letters

    def produce(self, topic: str, value: bytes, headers: list[tuple[str, bytes]], on_delivery: Any) -> None:
        self.sent.append((dict(headers)["redriven_from"], value))

    def poll(self, timeout: float) -> None: ...

    def flush(self) -> None: ...


@pytest.mark.parametrize("of_before", [False, True])
def test_every_bad_row_of_a_message_is_sent_back_and_none_twice(monkeypatch: pytest.MonkeyPatch, of_before: bool) -> None:
    message = encode_arrow(batch([0, 5 * HOUR, 9 * HOUR, 0], ["", None, "u", "v"]))
    letters = [record for record in records(taken_in([message])) if "reason" in dict(record.headers)]
    if of_before:
        letters = [Record(b"clicks/2/40", letter.value, letter.headers) for letter in letters]
    # A row that is decoded beside other messages has their columns, too.
    again = [Record(one.key, one.value if of_before else one.value[:-1] + b',"zone":null}', one.headers) for one in letters[1:]]
    broker: Any = Broker([*letters, *again])
    monkeypatch.setattr(redrive, "open_producer", lambda settings: broker)
    found = redrive.Redriven()
    drive = redrive._Drive(SETTINGS, broker, None, None, False, found)
    assert drive.send(0, 0, 2 * len(letters) - 1) == 2 * len(letters) - 1
    assert broker.sent == [(letter.key, letter.value) for letter in letters] and len(letters) == 3
    assert (found.sent, found.passed_over) == (3, 2)


def large(event_time_ms: int, kind: str, number: int) -> bytes:
    """A message with one event as large as it may be, whose text takes the most room in JSON, or with as many fields."""
    event: dict[str, object] = {
        "event_time_ms": event_time_ms,
        "user_id": f"u{number}",
        "item_id": "i",
        "ingest_time_ms": 5 * HOUR,
    }
    if kind == "fields":
        event |= {f"{number}-{field}": "x" for field in range(MAX_FIELDS - len(event))}
    else:
        event["zone"] = ("\x01" if kind == "control" else '"') * (MAX_EVENT_BYTES - len("zone"))
    return encode_arrow(pa.RecordBatch.from_pylist([event])) if kind == "control" else orjson.dumps(event)


def size_of(record: Record) -> int:
    return len(record.key) + len(record.value) + sum(len(name) + len(value) for name, value in record.headers)


@pytest.mark.parametrize("kind", ["control", "quotes", "fields"])
def test_no_letter_and_no_chunk_is_larger_than_topics_take(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    settings: dict[str, object] = {}
    monkeypatch.setattr(clients, "Producer", lambda given, **_: settings.update(given))
    clients.open_producer(SETTINGS)
    most, count = 1_000_000, 6
    assert settings["message.max.bytes"] == 1_048_576 > most
    times = [5 * HOUR, 4 * HOUR, 9 * HOUR]
    messages = [large(time, kind, number) for number in range(count) for time in times]
    taken = taken_in(messages)
    found = records(taken)
    assert len(found) == 2 * count and max(map(size_of, found)) < most
    late = [record for record in found if "late_by_ms" in dict(record.headers)]
    assert len(late) == count
    assert all((orjson.loads(one.value)["item_id"] == "i") for one in late if "raw_bytes" not in dict(one.headers))
    assert {"raw_bytes" in dict(one.headers) for one in late} == {kind == "control"}

    window = ShardWindow("run", "user-00", [0], ShardSettings(HOUR))
    for one in taken:
        if one.events is not None:
            window.add(one.events, one.hashes)
    sent = list(window.advance(0, DRAINED_MS))
    chunks = [message for message in sent if isinstance(message, Chunk)]
    assert max(size_of(record_of(chunk, HOUR, 0)) for chunk in chunks) < most
    assembler = SlideAssembler("run", ["user-00"], HOUR)
    (slide,) = [slide for message in sent for slide in assembler.add(message)]
    assert slide.events.num_rows == count
    columns = (
        [f"{number}-{field}" for number in range(count) for field in range(MAX_FIELDS - 4)] if kind == "fields" else ["zone"]
    )
    assert set(columns) <= set(slide.events.column_names)
    for number in range(count) if kind == "fields" else ():
        assert slide.events[f"{number}-7"].drop_null().to_pylist() == ["x"]


def test_a_long_reason_is_cut_in_its_header() -> None:
    record = dead_record(BadEvent("message: " + "é" * 700_000, b"", "clicks", 2, 40))
    assert size_of(record) < 1_500 and dict(record.headers)["reason"].decode().endswith(" (cut; 700009 characters)")


def test_the_topic_of_interactions_is_made_for_every_message_that_a_flow_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, dict[str, str]] = {}

    class Admin:
        def list_topics(self, **_: float) -> None: ...

        def create_topics(self, wanted: list[Any], **_: float) -> dict[str, Any]:
            made.update({topic.topic: topic.config for topic in wanted})
            return {topic.topic: self for topic in wanted}

        def result(self) -> None: ...

    monkeypatch.setattr(topics, "open_admin", lambda settings: Admin())
    topics.make_topics(SETTINGS, topics.shapes(SETTINGS, 4, -1, -1), 1)
    assert int(made.pop("interactions")["max.message.bytes"]) > MAX_ARROW_BYTES
    assert len(made) == 4 and not any("max.message.bytes" in config for config in made.values())
