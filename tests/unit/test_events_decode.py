"""What decoding promises: any bytes become events or letters, and how they are cut into messages changes nothing."""

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.events.arrow import decode_arrow
from dynmm_core.events.decode import MESSAGES_PER_CHUNK, decode_json
from dynmm_core.events.letters import Origin
from dynmm_core.events.schema import MAX_ID_BYTES, MAX_TIME_MS

GOOD = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_time_ms": 5}


def origin(count: int, first: int = 0) -> Origin:
    return Origin("clicks", 2, range(first, first + count))


def decode(*messages: dict[str, object] | bytes, **options: object) -> tuple[list[dict[str, object]], list[tuple[str, int]]]:
    raw = [message if isinstance(message, bytes) else orjson.dumps(message) for message in messages]
    decoded = decode_json(raw, origin(len(raw), 40), **options)  # type: ignore[arg-type]
    assert decoded.events.num_rows == len(decoded.offsets)
    return decoded.events.to_pylist(), [(letter.reason, letter.offset) for letter in decoded.bad]


def ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def test_a_missing_event_id_is_the_messages_place_in_the_log() -> None:
    events, bad = decode(GOOD, {**GOOD, "event_id": None}, {"user_id": "u", "item_id": "i", "event_time_ms": 0})
    assert [event["event_id"] for event in events] == ["e1", "clicks/2/41", "clicks/2/42"]
    assert bad == []


def test_numeric_ids_are_kept_as_text_and_missing_optional_fields_are_null() -> None:
    events, _ = decode({**GOOD, "user_id": 17, "item_id": 2**63}, {**GOOD, "rating": 3, "event": "click", "ingest_time_ms": 9})
    assert (events[0]["user_id"], events[0]["item_id"]) == ("17", str(2**63))
    assert (events[0]["rating"], events[0]["event"], events[0]["ingest_time_ms"]) == (None, None, None)
    assert (events[1]["rating"], events[1]["event"], events[1]["ingest_time_ms"]) == (3.0, "click", 9)


def test_further_fields_keep_their_names_as_text_unless_their_type_is_named() -> None:
    events, _ = decode({**GOOD, "zone": "n", "depth": 3, "tags": ["a"]}, {**GOOD, "depth": None})
    assert {name: events[0][name] for name in ("zone", "depth", "tags")} == {"zone": "n", "depth": "3", "tags": '["a"]'}
    assert events[1]["zone"] is None and events[1]["depth"] is None

    events, bad = decode({**GOOD, "depth": 3}, {**GOOD, "depth": "deep"}, further={"depth": pa.int64()})
    assert [event["depth"] for event in events] == [3]
    assert bad == [("depth: 'deep' is no int64", 41)]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "message: no JSON"),
        (b"{", "message: no JSON"),
        (b"\xff\xfe", "message: no JSON"),
        (b'{"user_id": NaN}', "message: no JSON"),
        (b"[" * 2000, "message: no JSON"),
        (b"[1]", "message: list is no JSON object"),
        (b"null", "message: NoneType is no JSON object"),
        ({"item_id": "i", "event_time_ms": 1}, "user_id: missing"),
        ({**GOOD, "item_id": None}, "item_id: missing"),
        ({**GOOD, "user_id": ""}, "user_id: empty"),
        ({**GOOD, "user_id": True}, "user_id: True is neither"),
        ({**GOOD, "user_id": 1.5}, "user_id: 1.5 is neither"),
        ({**GOOD, "user_id": "x" * (MAX_ID_BYTES + 1)}, "user_id: longer than"),
        ({**GOOD, "event_id": {}}, "event_id: {} is neither"),
        ({**GOOD, "event_time_ms": "5"}, "event_time_ms: '5' is no integer"),
        ({**GOOD, "event_time_ms": 5.0}, "event_time_ms: 5.0 is no integer"),
        ({**GOOD, "event_time_ms": True}, "event_time_ms: True is no integer"),
        ({**GOOD, "event_time_ms": -1}, "event_time_ms: -1 is not between"),
        ({**GOOD, "event_time_ms": MAX_TIME_MS + 1}, "event_time_ms: 253402300800000 is not between"),
        ({**GOOD, "event_time_ms": 2**64 - 1}, "event_time_ms: 18446744073709551615 is not between"),
        ({**GOOD, "rating": "good"}, "rating: 'good' is no number"),
        ({**GOOD, "event": 3}, "event: 3 is no text"),
        ({**GOOD, "ingest_time_ms": "now"}, "ingest_time_ms: 'now' is no integer"),
    ],
)  # fmt: skip
def test_what_is_no_event_is_a_letter_with_its_reason_between_events(message: object, reason: str) -> None:
    raw = message if isinstance(message, bytes) else orjson.dumps(message)
    decoded = decode_json([orjson.dumps(GOOD), raw, orjson.dumps(GOOD)], origin(3, 40))
    (letter,) = decoded.bad
    assert letter.reason.startswith(reason)
    assert (letter.raw, letter.topic, letter.partition, letter.offset) == (raw, "clicks", 2, 41)
    assert decoded.offsets.tolist() == [40, 42]


some_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
near_events = st.builds(
    lambda changes, drop: orjson.dumps({name: value for name, value in {**GOOD, **changes}.items() if name != drop}),
    st.dictionaries(st.sampled_from([*GOOD, "rating", "event", "ingest_time_ms", "zone"]), some_json, max_size=2),
    st.sampled_from([None, *GOOD]),
)


@settings(max_examples=150, deadline=None)
@given(messages=st.lists(st.one_of(near_events, near_events, st.binary(max_size=20)), max_size=8))
def test_every_message_is_one_event_or_one_letter_whatever_arrives_with_it(messages: list[bytes]) -> None:
    together = decode_json(messages, origin(len(messages)))
    assert sorted([*together.offsets.tolist(), *(letter.offset for letter in together.bad)]) == list(range(len(messages)))
    for place, message in enumerate(messages):
        alone = decode_json([message], origin(1, place))
        assert alone.bad == tuple(letter for letter in together.bad if letter.offset == place)
        row = together.events.filter(pa.array(together.offsets == place)).to_pylist()
        names = {name: value for name, value in (row[0] if row else {}).items() if value is not None}
        assert names == {name: value for name, value in (alone.events.to_pylist() or [{}])[0].items() if value is not None}


def test_decoding_many_messages_goes_on_over_its_chunks() -> None:
    count = 2 * MESSAGES_PER_CHUNK + 1
    messages = [orjson.dumps({**GOOD, "event_id": None, "event_time_ms": number}) for number in range(count)]
    decoded = decode_json(messages, origin(count))
    assert decoded.events["event_time_ms"].to_pylist() == list(range(count))
    assert decoded.events["event_id"].to_pylist()[-1] == f"clicks/2/{count - 1}"


def test_arrow_batches_become_events_with_their_further_columns_and_types() -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "zone": pa.array([1, 2]),
            "event_time_ms": pa.array([5, 6], pa.timestamp("ms")),
            "user_id": pa.array(["u", "v"]).dictionary_encode(),
            "item_id": pa.array([10, 11]),
            "rating": pa.array([float("nan"), 2.0]),
        }
    )
    for message, expected in ((batch, ["clicks/2/40", "clicks/2/41"]), (ipc(batch), ["clicks/2/40/0", "clicks/2/40/1"])):
        decoded = decode_arrow(message, origin(2 if message is batch else 1, 40))
        assert decoded.bad == ()
        assert decoded.events.schema.names == ["event_time_ms", "event_id", "user_id", "item_id", "rating", "zone"]
        assert decoded.events.to_pydict() == {
            "event_time_ms": [5, 6], "event_id": expected, "user_id": ["u", "v"], "item_id": ["10", "11"],
            "rating": [None, 2.0], "zone": [1, 2],
        }  # fmt: skip


def test_bad_rows_of_an_arrow_batch_are_letters_and_the_others_events() -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "event_time_ms": [1, -1, None, 4, 5], "event_id": list("abcde"),
            "user_id": ["u", "u", "u", None, ""], "item_id": ["i"] * 5,
        }
    )  # fmt: skip
    decoded = decode_arrow(batch, origin(5))
    assert decoded.offsets.tolist() == [0]
    reasons = [letter.reason for letter in decoded.bad]
    assert reasons == [
        f"event_time_ms: -1 is not between 0 and {MAX_TIME_MS}", "event_time_ms: missing", "user_id: missing", "user_id: missing",
    ]  # fmt: skip
    assert orjson.loads(decoded.bad[0].raw)["event_id"] == "b"


@pytest.mark.parametrize(
    "message",
    [
        b"no arrow",
        b"",
        ipc(pa.RecordBatch.from_pydict({"user_id": ["u"]})),
        ipc(pa.RecordBatch.from_pydict({"user_id": ["u"], "item_id": [1.5], "event_time_ms": [1]})),
        ipc(pa.RecordBatch.from_pydict({"user_id": ["u"], "item_id": ["i"], "event_time_ms": ["soon"]})),
        ipc(pa.RecordBatch.from_pydict({"user_id": ["u"], "item_id": ["i"], "event_time_ms": [1]}))[:-40],
    ],
)
def test_an_arrow_message_that_is_no_batch_of_events_is_one_letter(message: bytes) -> None:
    decoded = decode_arrow(message, origin(1, 7))
    (letter,) = decoded.bad
    assert letter.reason.startswith("message: ")
    assert (letter.raw, letter.offset, decoded.events.num_rows) == (message, 7, 0)
