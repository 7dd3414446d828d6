"""The fast way through JSON messages ends where the plain one does, whatever arrives together."""

import json
import random

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.events import fast_json
from dynmm_core.events import messages as messages_module
from dynmm_core.events.decode import decode_json
from dynmm_core.events.letters import Origin
from dynmm_core.events.messages import decode_messages
from dynmm_core.events.schema import MAX_ID_BYTES, MAX_TIME_MS

FIELDS = ("event_id", "event_time_ms", "user_id", "item_id", "rating", "event", "ingest_time_ms", "zone", "schema_version")
STYLES: tuple[dict[str, object], ...] = ({"separators": (",", ":")}, {}, {"indent": 2}, {"separators": (" ,", "\t: ")})

texts = st.sampled_from(["u1", "é", "日本", "", "a b", "\x7f", "12", "x" * MAX_ID_BYTES, "é" * MAX_ID_BYTES]) | st.text(
    max_size=6
)
times = st.integers(0, MAX_TIME_MS) | st.sampled_from([0, MAX_TIME_MS, MAX_TIME_MS + 1, 10**15, 1_700_000_000_000])
decimals = st.decimals(0, 10**9, allow_nan=False, places=3).map(float) | st.floats(allow_nan=False, allow_infinity=False)
ratings = st.sampled_from([0, 1, 4, 0.5, 3.5, 4.25, 10, 12.5, 0.1]) | decimals
odd = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | decimals | texts | st.just([1]) | st.just({"a": "b"})
USUAL = {
    "event_id": texts, "event_time_ms": times, "user_id": texts, "item_id": texts | st.integers(0, 2**60),
    "rating": ratings, "event": texts, "ingest_time_ms": times, "zone": texts | st.integers(0, 99), "schema_version": st.just(1),
}  # fmt: skip
# As they stand in a message: no encoder writes them, a producer may.
NASTY = (
    "01", "-0", "-1", "1.", ".5", "1.0", "1e3", "1.5.2", "00", "0", "0.0", "0x1F", "+1", "1 ", "1_0", "", "NaN", "nul",
    '"\\u0061"', '"a\\"b"', '"tab\t"', '"line\nbreak"', '"nul\x00"', '"', '"a" "b"', '"a":"b"', '"a","user_id":"b"', "1.50",
    "9007199254740993", "999999999999999", "1000000000000000", "0.1234567890123", "123456789.1234567", "2", '"1"', "1.0", "null",
)  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> list[bytes]:
    """Messages of few shapes, most of them plain, some with something odd in them; then some bytes changed."""
    shapes = draw(st.lists(st.permutations(FIELDS).map(tuple), min_size=1, max_size=3))
    present = draw(st.sets(st.sampled_from(FIELDS[4:])) | st.just(set())) | set(FIELDS[draw(st.integers(0, 1)) : 4])
    style = draw(st.sampled_from(STYLES))
    rng = random.Random(draw(st.integers(0, 2**32)))
    plain = [{name: draw(USUAL[name]) for name in FIELDS} for _ in range(draw(st.integers(1, 4)))]
    messages = []
    for number in range(draw(st.integers(1, 40))):
        values = {**rng.choice(plain), "event_id": f"e{number}", "event_time_ms": 10 ** rng.randrange(15) + number}
        names = [name for name in rng.choice(shapes) if name in present]
        messages.append(json.dumps({name: values[name] for name in names}, ensure_ascii=False, **style).encode())  # type: ignore[arg-type]
    for _ in range(draw(st.integers(0, 4))):
        place = rng.randrange(len(messages))
        messages[place] = draw(st.sampled_from(_changes(draw, messages[place], rng)))
    return messages


def _changes(draw: st.DrawFn, message: bytes, rng: random.Random) -> list[bytes]:
    """What can become of one message: a field with an odd value, a nasty one, another field, other bytes, or none of it."""
    name = draw(st.sampled_from(FIELDS))
    field = f'"{name}":'.encode()
    begin, sep, rest = message.partition(field)
    nasty = draw(st.sampled_from(NASTY)).encode()
    cut = rng.randrange(len(message) + 1)
    twice = message[: message.rfind(b"}")] + b"," + field + nasty + b"}"
    end = min((place for place in (rest.find(b","), rest.find(b"}")) if place >= 0), default=len(rest))
    return [
        orjson.dumps({"event_time_ms": 1, "user_id": "u", "item_id": "i", name: draw(odd)}),
        begin + sep + nasty + rest[end:],
        twice,
        message.replace(field, b'"other":'),
        message[:cut] + draw(st.binary(max_size=3)) + message[cut:],
        message[:cut] + bytes([draw(st.integers(0, 255))]) + message[cut + 1 :],
        message[:cut],
        message[1:],
        message + message,
        b" " + message + b"\n",
        draw(st.binary(max_size=30)),
    ]


def assert_same(messages: list[bytes], first: int) -> None:
    messages = [message for message in messages if not message.startswith(b"\xff\xff\xff\xff")]
    origin = Origin("clicks", 2, range(first, first + len(messages)))
    found, expected = decode_messages(messages, origin), decode_json(messages, origin)
    assert found.bad == expected.bad
    assert found.events.schema.equals(expected.events.schema, check_metadata=True)
    assert found.events.equals(expected.events), (found.events.to_pylist(), expected.events.to_pylist())
    assert found.offsets.tolist() == expected.offsets.tolist() and found.offsets.dtype == expected.offsets.dtype
    found.events.validate(full=True)


@settings(max_examples=600, deadline=None)
@given(messages=lines(), first=st.sampled_from([0, 7, 2**40]), few=st.integers(1, 3), block=st.sampled_from([5, 1 << 14]))
def test_json_messages_become_what_the_plain_decoder_makes_of_them(
    messages: list[bytes], first: int, few: int, block: int
) -> None:
    before = fast_json.FEWEST, messages_module.MESSAGES_PER_BLOCK
    try:
        fast_json.FEWEST, messages_module.MESSAGES_PER_BLOCK = few, block
        assert_same(messages, first)
    finally:
        fast_json.FEWEST, messages_module.MESSAGES_PER_BLOCK = before


numbers = st.from_regex(r"[0-9]{1,3}(\.[0-9]{0,2})?", fullmatch=True) | st.text("0123456789.", max_size=18)


@settings(max_examples=200, deadline=None)
@given(
    given_numbers=st.lists(numbers, min_size=1, max_size=20),
    field=st.sampled_from(["rating", "ingest_time_ms", "zone", "user_id"]),
)
def test_numbers_are_read_as_the_plain_decoder_reads_them(given_numbers: list[str], field: str) -> None:
    event = {"event_time_ms": 1, "item_id": "i", **({} if field == "user_id" else {"user_id": "u"})}
    usual = ["1.5" if field == "rating" else "15"] * 20
    assert_same([orjson.dumps(event)[:-1] + f',"{field}":{number}}}'.encode() for number in usual + given_numbers], 0)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, 200), byte=st.integers(0, 255), among=st.integers(0, 39), replaced=st.booleans())
def test_one_changed_byte_in_one_message_changes_that_message_alone(cut: int, byte: int, among: int, replaced: bool) -> None:
    event = {"event_id": "e1", "event_time_ms": 1_700_000_000_000, "user_id": "u1", "item_id": "é", "rating": 3.5, "zone": "z"}
    messages = [orjson.dumps({**event, "event_id": f"e{number}"}) for number in range(40)]
    message, cut = messages[among], cut % len(messages[among])
    messages[among] = message[:cut] + bytes([byte]) + message[cut + replaced :]
    assert_same(messages, 0)


@given(fields=st.permutations([("rating", "null"), ("rating", "3"), ("user_id", '"a"'), ("user_id", "7"), ("event", "null")]))
def test_of_a_field_that_is_there_twice_the_last_counts(fields: list[tuple[str, str]]) -> None:
    told = "".join(f',"{name}":{value}' for name, value in fields)
    assert_same([f'{{"event_time_ms":{number},"item_id":"i"{told}}}'.encode() for number in range(30)], 0)


def test_plain_messages_are_not_left_to_the_plain_decoder(monkeypatch: object) -> None:
    event = {"event_id": "e1", "event_time_ms": 1_700_000_000_000, "user_id": "ü", "item_id": 7, "rating": 3.5, "event": None}
    messages = [orjson.dumps({**event, "event_id": f"e{number}"}) for number in range(100)]
    left: list[int] = []
    plain = fast_json.decode_json

    def counting(rest: list[bytes], origin: Origin) -> object:
        left.append(len(rest))
        return plain(rest, origin)

    monkeypatch.setattr(fast_json, "decode_json", counting)  # type: ignore[attr-defined]
    assert decode_messages(messages, Origin("t", 0, range(100))).events.num_rows == 100
    assert left == []
    messages[3] = b"{"
    decoded = decode_messages(messages, Origin("t", 0, range(100)))
    assert (decoded.events.num_rows, left, [letter.offset for letter in decoded.bad]) == (99, [1], [3])
    assert decoded.events.column("event").type == pa.string()


def test_values_of_any_length_are_found_without_the_plain_decoder(monkeypatch: object) -> None:
    rng = random.Random(0)
    lengths = [1, 2, 7, 8, 9, 31, 32, 33, 255, 256, 257, 900, 1024]
    rows = [{"user_id": "u" * rng.choice(lengths), "item_id": "é" * -(-rng.choice(lengths) // 2)} for _ in range(300)]
    messages = [orjson.dumps({"event_id": f"e{row}", **rows[row], "event_time_ms": 10 ** (row % 13)}) for row in range(300)]
    assert_same(messages, 0)

    def refused(rest: list[bytes], origin: Origin) -> object:
        raise AssertionError(f"{len(rest)} messages were left")

    monkeypatch.setattr(fast_json, "decode_json", refused)  # type: ignore[attr-defined]
    found = decode_messages(messages, Origin("t", 0, range(300))).events
    assert found["user_id"].to_pylist() == [row["user_id"] for row in rows]
