"""Messages of one partition: kinds mixed, sizes, versions, and bytes that lie about what they are."""

import random

import orjson
import pyarrow as pa
import pytest

from dynmm_core.events.arrow import decode_arrow
from dynmm_core.events.decode import concat_events, decode_json
from dynmm_core.events.encode import encode_arrow, encode_json
from dynmm_core.events.letters import Origin
from dynmm_core.events.messages import decode_messages
from dynmm_core.events.wire import (
    ARROW_END,
    ARROW_MARK,
    MAX_ARROW_BYTES,
    MAX_EVENT_BYTES,
    MAX_FIELDS,
    MAX_JSON_BYTES,
    MAX_NESTING,
    MAX_RAW_BYTES,
)

GOOD = {"event_id": "e1", "event_time_ms": 5, "user_id": "u1", "item_id": "i1"}


def events(count: int, first: int = 0, **further: list[object]) -> pa.RecordBatch:
    rows = range(first, first + count)
    return pa.RecordBatch.from_pydict(
        {
            "event_time_ms": pa.array([1000 + row for row in rows], pa.int64()),
            "event_id": [f"e{row}" for row in rows],
            "user_id": [f"u{row % 3}" for row in rows],
            "item_id": [f"i{row % 5}" for row in rows],
            **further,
        }
    )


def stream(batch: pa.RecordBatch, *more: pa.RecordBatch, **metadata: str) -> bytes:
    schema = batch.schema.with_metadata({f"dynmm.{name}": value for name, value in metadata.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for part in (batch, *more):
            writer.write_batch(part.replace_schema_metadata(schema.metadata))
    return sink.getvalue().to_pybytes()


def origin(count: int) -> Origin:
    return Origin("clicks", 2, range(40, 40 + count))


def test_kinds_mixed_come_out_in_log_order_with_the_offset_of_their_message() -> None:
    messages = [*encode_json(events(20)), encode_arrow(events(3, 20)), None, *encode_json(events(20, 23)), b"{"]
    messages += [encode_arrow(events(2, 43)), ARROW_MARK, encode_arrow(events(1, 45)), *encode_json(events(1, 46))]
    decoded = decode_messages(messages, origin(len(messages)))
    assert decoded.events.equals(events(47))
    expected = [*range(40, 60), 60, 60, 60, *range(62, 82), 83, 83, 85, 86]
    assert decoded.offsets.tolist() == expected
    assert [(letter.offset, letter.reason[:20]) for letter in decoded.bad] == [
        (61, "message: no value (a"), (82, "message: no JSON (un"), (84, "message: no whole Ar"),
    ]  # fmt: skip
    assert (decode_messages([], origin(0)).events.num_rows, decode_messages([None], origin(1)).bad[0].raw) == (0, b"")


def test_arrow_messages_together_become_what_each_becomes_alone() -> None:
    nameless = pa.array([None, "x", None])
    batches = [
        events(3).set_column(1, "event_id", nameless), events(1).set_column(1, "event_id", nameless.slice(0, 1)),
        events(3, 7).set_column(0, "event_time_ms", pa.array([1, -1, None])), events(0), events(2, rating=[1.0, float("nan")]),
        events(2, 9), events(2).drop_columns(["user_id"]), events(2, 3),
    ]  # fmt: skip
    messages = [encode_arrow(batch) if "user_id" in batch.schema.names else stream(batch) for batch in batches]
    messages[5:5] = [stream(events(2), events(3, 2)), stream(events(2, 5), schema_version="1")]
    together = decode_messages(messages, origin(len(messages)))
    alone = [decode_arrow(message, Origin("clicks", 2, [40 + place])) for place, message in enumerate(messages)]
    assert together.events.equals(concat_events([part.events for part in alone if part.events.num_rows]))
    assert together.offsets.tolist() == [offset for part in alone for offset in part.offsets.tolist()]
    assert together.bad == tuple(letter for part in alone for letter in part.bad)
    assert together.events["event_id"].to_pylist()[:4] == ["clicks/2/40/0", "x", "clicks/2/40/2", "clicks/2/41"]


def test_further_columns_are_text_whoever_sends_them() -> None:
    zones = [pa.array([1, None]), pa.array(["a", None]).dictionary_encode(), pa.array([[1], None]), pa.array([b"\xff", None])]
    messages = [stream(events(2, zone=zone)) for zone in zones]
    messages.append(orjson.dumps({**GOOD, "zone": {"a": 1}}))
    found = decode_messages(messages, origin(len(messages))).events["zone"]
    assert found.to_pylist() == ["1", None, "a", None, "[1]", None, "b'\\xff'", None, '{"a":1}']


def test_a_further_value_that_has_no_text_makes_its_message_a_letter() -> None:
    zones = [pa.array([year, None], pa.timestamp("s")) for year in (0, 2**60, 0)]
    messages = [stream(events(2, zone=zone)) for zone in (*zones, pa.array([1_500, None], pa.timestamp("ns")))]
    decoded = decode_messages(messages, origin(4))
    (letter,) = decoded.bad
    assert (letter.offset, letter.raw) == (41, messages[1]) and letter.reason.startswith("message: ")
    assert decoded.events["zone"].to_pylist()[::2] == ["1970-01-01T00:00:00"] * 2 + ["1970-01-01T00:00:00.000001"]


@pytest.mark.parametrize(
    ("message", "most"),
    [
        (orjson.dumps({**GOOD, "zone": "x" * MAX_JSON_BYTES}), MAX_JSON_BYTES),
        (ARROW_MARK + b"\0" * MAX_ARROW_BYTES, MAX_ARROW_BYTES),
    ],
)
def test_a_message_that_is_too_long_is_a_letter_with_its_beginning(message: bytes, most: int) -> None:
    decoded = decode_messages([orjson.dumps(GOOD), message], origin(2))
    (letter,) = decoded.bad
    assert letter.reason == f"message: {len(message)} bytes are too many; send {most} at most"
    assert (letter.offset, letter.raw, decoded.offsets.tolist()) == (41, message[:MAX_RAW_BYTES], [40])


def test_a_message_as_long_as_it_may_be_is_an_event() -> None:
    longest = orjson.dumps(GOOD).ljust(MAX_JSON_BYTES)
    assert len(longest) == MAX_JSON_BYTES
    assert decode_messages([longest], origin(1)).bad == ()


@pytest.mark.parametrize("further", [{"zone": ""}, {"é" * 1000: ""}, {"event": "x", "zone": "é"}, {"tags": "[1]", "event": ""}])
def test_an_event_that_no_topic_would_take_is_a_letter_in_json_and_in_arrow(further: dict[str, str]) -> None:
    name, begin = list(further.items())[-1]
    most = begin + "x" * (MAX_EVENT_BYTES - sum(len((other + value).encode()) for other, value in further.items()))
    for text, size in ((most, MAX_EVENT_BYTES), (most + "x", MAX_EVENT_BYTES + 1)):
        event = {**GOOD, **further, name: text}
        json = orjson.dumps(event)
        arrow = stream(pa.RecordBatch.from_pylist([GOOD | dict.fromkeys(further, "y"), event]))
        decoded = decode_messages([*encode_json(events(20)), json, arrow], origin(22))
        if size <= MAX_EVENT_BYTES:
            assert (decoded.events.num_rows, decoded.bad) == (23, ())
            continue
        told = f"message: an event of {size} bytes, as text, is too large; send {MAX_EVENT_BYTES} at most"
        assert [(letter.reason, letter.offset, letter.row) for letter in decoded.bad] == [(told, 60, None), (told, 61, 1)]
        assert decoded.bad[0].raw == json and orjson.loads(decoded.bad[1].raw)[name] == text
        assert decoded.events.num_rows == 21 and decoded.offsets.tolist() == [*range(40, 60), 61]


@pytest.mark.parametrize("count", [MAX_FIELDS, MAX_FIELDS + 1, 40_000])
def test_a_message_of_too_many_fields_is_a_letter_in_json_and_in_arrow(count: int) -> None:
    event: dict[str, object] = {**GOOD, **{f"f{number}": 1 for number in range(count - len(GOOD))}}
    arrow = stream(pa.RecordBatch.from_pylist([event]))
    told = f"message: {count} fields are too many; send {MAX_FIELDS} at most"
    for others in ([], [orjson.dumps(event)] * 20):
        messages = [*others, orjson.dumps(event), arrow]
        decoded = decode_messages(messages, origin(len(messages)))
        expected = [] if count <= MAX_FIELDS else [told] * len(messages)
        assert [letter.reason for letter in decoded.bad] == expected
        assert decoded.events.num_rows == len(messages) - len(expected)


def test_a_template_of_too_many_fields_is_left_to_the_plain_decoder() -> None:
    names = {f"{number:x}": 1 for number in range(MAX_FIELDS - 4)}
    for further, sound in ((names, True), ({**names, "schema_version": 1}, False), ({**names, "n": None}, False)):
        decoded = decode_messages([orjson.dumps({**GOOD, **further, "event_id": f"e{row}"}) for row in range(40)], origin(40))
        assert (decoded.events.num_rows, len(decoded.bad)) == ((40, 0) if sound else (0, 40))


def test_a_reason_is_short_whatever_a_sender_wrote() -> None:
    names = ["event_time_ms", "user_id", *(f"{number}-{'é' * 5000}" for number in range(250))]
    (letter,) = decode_messages([stream(pa.RecordBatch.from_pydict({name: ["1"] for name in names}))], origin(1)).bad
    assert letter.reason.startswith("message: item_id: missing; the batch has ") and letter.reason.endswith(" characters)")
    assert 400 < len(letter.reason) < 450 and "(cut; 12" in letter.reason


@pytest.mark.parametrize("name", [*GOOD, "rating", "event", "ingest_time_ms", "schema_version", "zone"])
@pytest.mark.parametrize(
    ("opened", "closed"), [("[", "]"), ('{"a":', "}"), ('[{"a":1,"b":', "}]")], ids=["lists", "objects", "both"]
)
def test_values_that_nest_too_deep_are_letters_whatever_arrives_with_them(name: str, opened: str, closed: str) -> None:
    def nested(levels: int) -> bytes:
        times = levels // (len(closed))
        fields = [f'"{other}":{orjson.dumps(value).decode()}' for other, value in GOOD.items() if other != name]
        return ("{" + ",".join([*fields, f'"{name}":{opened * times}1{closed * times}']) + "}").encode()

    told = f"message: objects and lists nest more than {MAX_NESTING} deep"
    levels = [MAX_NESTING, MAX_NESTING + 2, 254, 256, 600, 1000, 1022]
    for others in ([], [orjson.dumps(GOOD)] * 30, [b"{"]):
        for decode in (decode_json, decode_messages):
            messages = [*others, *map(nested, levels)]
            decoded = decode(messages, origin(len(messages)))
            letters = decoded.bad[-len(levels) :]
            assert [letter.raw for letter in letters] == messages[-len(levels) :]
            assert {letter.reason for letter in letters} == {told}
        shallow = decode_messages([*others, nested(MAX_NESTING - 2)], origin(len(others) + 1))
        assert told not in {letter.reason for letter in shallow.bad}
        assert name != "zone" or shallow.offsets[-1] == 40 + len(others)


@pytest.mark.parametrize("version", [2, 0, -1, 1.0, "1", None, True, [1], "x" * 200])
def test_a_version_that_is_not_known_is_a_letter(version: object) -> None:
    message = orjson.dumps({"schema_version": version, **GOOD})
    told = f"{orjson.dumps(version).decode():.80}"
    expected = f"schema_version: {told} is not known to this release (it knows 1); upgrade the flow, then re-drive"
    for decode in (decode_json, decode_messages):
        decoded = decode([message, orjson.dumps({**GOOD, "schema_version": 1})] * 30, origin(60))
        assert {letter.reason for letter in decoded.bad} == {expected} and len(decoded.bad) == 30
        assert decoded.events.schema.names == list(decode([orjson.dumps(GOOD)], origin(1)).events.schema.names)


def test_an_arrow_message_of_another_version_is_one_letter() -> None:
    messages = [stream(events(2), schema_version=version) for version in ("1", "2", "", "1")]
    decoded = decode_messages(messages, origin(4))
    assert [(letter.offset, letter.reason.split(" is not known")[0]) for letter in decoded.bad] == [
        (41, "schema_version: 2"), (42, "schema_version: "),
    ]  # fmt: skip
    assert decoded.bad[0].raw == messages[1]
    assert decoded.offsets.tolist() == [40, 40, 43, 43]


def test_arrow_messages_with_changed_bytes_are_events_or_letters_and_never_more() -> None:
    rng = random.Random(7)
    zones = pa.array(["a", None, "b", "c"] * 5).dictionary_encode()
    whole = encode_arrow(events(20, rating=[1.5] * 20, zone=zones))
    packed = pa.BufferOutputStream()
    with pa.ipc.new_stream(packed, events(20).schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(events(20))
    for message in (whole, packed.getvalue().to_pybytes()):
        for _ in range(1500):
            broken = bytearray(message)
            for _ in range(rng.choice([1, 1, 2, 8])):
                place = rng.randrange(4, len(broken))
                broken[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, broken[place] ^ (1 << rng.randrange(8))])
            decoded = decode_messages([bytes(broken), message], origin(2))
            decoded.events.validate(full=True)
            assert decoded.events.num_rows == len(decoded.offsets)
            assert decoded.offsets.tolist().count(41) == 20
        for end in range(4, len(message)):
            for cut in (message[:end], message[:end] + ARROW_END):
                assert decode_messages([cut], origin(1)).events.num_rows in (0, 20)


def test_a_cut_arrow_message_is_a_letter_even_where_a_batch_ends() -> None:
    message = stream(events(5), events(5, 5))
    for end in range(4, len(message)):
        (letter,) = decode_messages([message[:end]], origin(1)).bad
        assert letter.reason.startswith("message: ") and letter.raw == message[:end]


def test_few_bytes_that_stand_for_very_many_are_a_letter() -> None:
    nothing = pa.RecordBatch.from_pydict({name: pa.nulls(3 << 20) for name in ("event_time_ms", "user_id", "item_id")})
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int8()), ["x" * 1_000_000])
    times = pa.array([1] * 100_000, pa.int8())
    huge = pa.RecordBatch.from_pydict({"event_time_ms": times, "user_id": long, "item_id": times})
    for batch, told in ((nothing, "3145728 events in "), (huge, "user_id: texts of up to 1000000 bytes")):
        (letter,) = decode_messages([stream(batch)], origin(1)).bad
        assert letter.reason.startswith(f"message: {told}")
