"""Context is the same whoever brings it: from a file, from JSON, from Arrow, through slides, and as its definition says."""

import math
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.events.encode import encode_arrow, encode_json
from dynmm_core.events.hashing import hash64
from dynmm_core.events.letters import Origin
from dynmm_core.events.messages import decode_messages
from dynmm_core.evidence.context import MOST_COLUMNS, MOST_VALUES, ContextColumns, choose_context
from dynmm_core.evidence.last_clicks import LastClicks
from dynmm_core.windows.buckets import BUCKET_KEYS, split_by_bucket
from dynmm_core.windows.horizons import PANE_MS
from dynmm_core.windows.intake import Intake
from dynmm_core.windows.messages import Chunk
from dynmm_core.windows.shard import ShardSettings, ShardWindow
from dynmm_core.windows.slides import Slide, SlideAssembler

SLIDE_MS = 2 * PANE_MS
START_MS = 1_700_000_400_000  # a multiple of the slide
LONG_MS = 100 * SLIDE_MS
Row = dict[str, Any]

KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "region": (pa.string(), st.sampled_from(["nord", "süd", 'say "so"', "", "7", "7.0", "true", "null", "a\nb"])),
    "device": (pa.int32(), st.integers(-2, 7)),
    "screen": (pa.float64(), st.sampled_from([0.5, 7.0, -0.0, 1e300, 0.1, math.nan, math.inf, -math.inf])),
    "width": (pa.float32(), st.sampled_from([0.5, 7.0, 0.10000000149011612])),
    "known": (pa.bool_(), st.booleans()),
    "day": (pa.timestamp("ms"), st.sampled_from([datetime(2024, 5, 1), datetime(2024, 5, 2, 3, 4, 5, 600_000)])),
    "plan": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["free", "paid"])),
    "tags": (pa.list_(pa.int64()), st.sampled_from([[1], [1, 2], []])),
    "nothing": (pa.null(), st.none()),
}


def by_definition(value: Any) -> str | None:
    """The text of a value, one at a time."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, str):
        text = value
    elif isinstance(value, datetime):
        text = orjson.dumps(value).decode().strip('"')
    else:
        text = orjson.dumps(value).decode()
    head, sep, tail = text.rpartition(".")
    return head if sep and tail == "0" and head.removeprefix("-").isascii() and head.removeprefix("-").isdigit() else text


def codes_by_definition(rows: list[Row], columns: ContextColumns) -> list[list[int]]:
    places = [{value: code for code, value in enumerate(values, 1)} for values in columns.values.values()]
    return [
        [place.get(by_definition(row.get(name)), 0) for name, place in zip(columns.values, places, strict=True)] for row in rows
    ]


@st.composite
def logs(draw: st.DrawFn) -> pa.RecordBatch:
    """Events as a file has them: columns of several kinds, with holes."""
    count = draw(st.integers(1, 40))
    columns = {
        "event_time_ms": pa.array(range(START_MS, START_MS + count), pa.int64()),
        "event_id": pa.array([f"e{row}" for row in range(count)]),
        "user_id": pa.array([f"u{row % 3}" for row in range(count)]),
        "item_id": pa.array([f"i{row % 5}" for row in range(count)]),
    }
    for name in sorted(draw(st.sets(st.sampled_from(sorted(KINDS)), min_size=1))):
        kind, values = KINDS[name]
        columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=count, max_size=count)), kind)
    return pa.RecordBatch.from_pydict(columns)


@settings(max_examples=150, deadline=None)
@given(log=logs(), missing=st.sampled_from(sorted(KINDS)))
def test_codes_are_those_of_the_definition_whoever_brings_the_events(log: pa.RecordBatch, missing: str) -> None:
    values = {
        name: sorted({text for value in log[name].to_pylist() if (text := by_definition(value)) is not None})[:MOST_VALUES]
        for name in log.schema.names[4:]
    }
    columns = ContextColumns({name: tuple(some[:-1] or some) for name, some in values.items()} | {missing: ("7",)})
    expected = codes_by_definition(log.to_pylist(), columns)
    assert columns.encode(pa.Table.from_batches([log])).tolist() == expected
    origin = Origin("t", 0, range(log.num_rows))
    halves = [*encode_json(log)[: log.num_rows // 2], encode_arrow(log.slice(log.num_rows // 2))]
    for messages in (encode_json(log), [encode_arrow(log)], halves):
        decoded = decode_messages(messages, origin)
        assert decoded.bad == ()
        assert columns.encode(pa.Table.from_batches([decoded.events])).tolist() == expected
    known = columns.known(np.array(expected))
    assert known == {name: sum(codes[place] > 0 for codes in expected) / len(expected) for place, name in enumerate(known)}


regions, devices = st.sampled_from([None, "nord", "süd", "x"]), st.sampled_from([None, 3, "3", 4])
ratings = st.sampled_from([None, 0.5, 1.0])
clicks = st.builds(
    lambda minute, number, user, item, region, device, rating: {
        "event_time_ms": START_MS + minute * 60_000, "event_id": f"e{number:02}", "user_id": f"u{user}", "item_id": f"i{item}",
        "region": region, "device": device, "rating": rating,
    },
    st.integers(0, 30), st.integers(0, 20), st.integers(0, 9), st.integers(0, 4), regions, devices, ratings,
)  # fmt: skip


def message_of(row: Row) -> bytes:
    """As a producer writes it who leaves out what is not there, but for devices."""
    return orjson.dumps({name: value for name, value in row.items() if value is not None or name == "device"})


def through_slides(messages: list[bytes], batch: int, most: int | None) -> tuple[list[Slide], dict[tuple[str, int, int], bytes]]:
    """One partition's messages in batches through the state machines: slides and the bytes of their chunks."""
    intake = Intake("t", 0, SLIDE_MS, LONG_MS, None)
    shards = [ShardWindow("run", key, [0], ShardSettings(SLIDE_MS, most)) for key in BUCKET_KEYS]
    for first in range(0, len(messages), batch):
        some = messages[first : first + batch]
        taken = intake.take(decode_messages(some, Origin("t", 0, range(first, first + len(some)))))
        for bucket, *events in split_by_bucket(taken.events, taken.hashes) if taken.events is not None else ():
            shards[bucket].add(*events)
    assembler = SlideAssembler("run", BUCKET_KEYS, SLIDE_MS, most)
    through_ms = intake.drain().closed_through_ms
    sent = [message for shard in shards for message in shard.advance(0, through_ms)]
    chunks = {(one.shard, one.slide_end_ms, one.index): one.payload for one in sent if isinstance(one, Chunk)}
    return [slide for message in sent for slide in assembler.add(message)], chunks


def expected_slides(rows: list[Row], most: int | None) -> dict[int, list[Row]]:
    """Slides event by event: of duplicates the earliest, then the lowest hash of the item, then the lowest further fields."""

    def key(row: Row) -> tuple[Any, ...]:
        item = int(hash64(pa.array([row["item_id"]]))[0])
        further = (row["rating"], row["device"], row["region"])
        return row["event_time_ms"], item, *((value is None, str(value)) for value in further)

    kept: dict[tuple[int, str, str], Row] = {}
    for row in sorted(rows, key=key):
        kept.setdefault((row["event_time_ms"] // SLIDE_MS, row["user_id"], row["event_id"]), row)
    slides: dict[int, list[Row]] = {}
    for row in sorted(kept.values(), key=lambda row: [row[name] for name in ("event_time_ms", "event_id", "user_id", "item_id")]):
        slides.setdefault((row["event_time_ms"] // SLIDE_MS + 1) * SLIDE_MS, []).append(row)
    if most is None:
        return slides
    return {end_ms: _sample(some, most) for end_ms, some in slides.items()}


def _sample(rows: list[Row], most: int) -> list[Row]:
    hashes = hash64(pa.array([row["event_id"] for row in rows]))
    chosen = sorted(np.argsort(hashes, kind="stable")[:most].tolist())
    return [rows[place] for place in chosen]


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(clicks, min_size=1, max_size=60), batch=st.sampled_from([1, 2, 7]), most=st.sampled_from([None, 3]))
def test_slides_carry_the_context_of_their_events_and_of_their_sample(rows: list[Row], batch: int, most: int | None) -> None:
    columns = ContextColumns({"region": ("süd", "nord"), "device": ("3",)})
    messages = [message_of(row) for row in rows]
    slides, chunks = through_slides(messages, batch, most)
    expected = expected_slides(rows, most)
    assert [slide.slide_end_ms for slide in slides] == sorted(expected)
    for slide in slides:
        wanted = expected[slide.slide_end_ms]
        assert slide.events["event_id"].to_pylist() == [row["event_id"] for row in wanted]
        assert columns.encode(slide.events).tolist() == codes_by_definition(
            [{**row, "device": None if row["device"] is None else str(row["device"])} for row in wanted], columns
        )
    assert through_slides(messages, 1000, most)[1] == chunks


def test_what_the_item_decides_or_tells_nothing_is_no_context() -> None:
    rng, count = np.random.default_rng(2), 4_000
    item = rng.integers(1, 200, count)
    category, region = item % 7, rng.integers(0, 5, count)
    local = np.where(rng.random(count) < 0.7, item % 5, region)  # an item is read here more than there
    table = pa.table({
        "schema_version": rng.integers(0, 2, count), "alike": ["x"] * count, "visit": np.arange(count) % (MOST_VALUES + 1),
        "category": category, "mended": np.where(rng.random(count) < 0.01, rng.integers(0, 7, count), category),
        "region": np.where(region == 4, np.nan, region.astype(float)), "local": local, "rare": (np.arange(count) < 5),
        "most": np.arange(count) % MOST_VALUES,
    })  # fmt: skip
    nothing = np.full(count, -1)
    chosen = choose_context(table, item, nothing)
    assert list(chosen.values) == ["region", "local", "rare", "most"]
    counts = np.bincount(region[region < 4])
    assert chosen.values["region"] == tuple(str(value) for value in sorted(range(4), key=lambda value: -counts[value]))
    assert chosen.values["rare"] == ("false", "true")
    assert chosen.left_out == ()
    many = pa.table({f"c{number}": region for number in range(MOST_COLUMNS + 2)} | {"alike": ["x"] * count})
    chosen = choose_context(many, item, nothing)
    assert list(chosen.values) == [f"c{number}" for number in range(MOST_COLUMNS)]
    assert chosen.left_out == (f"c{MOST_COLUMNS}", f"c{MOST_COLUMNS + 1}")
    assert len(choose_context(table.slice(0, 0), item[:0], nothing[:0])) == 0
    alone = pa.table({"region": region[:150]})  # every item once: nothing says who decides
    assert list(choose_context(alone, np.arange(1, 151), nothing[:150]).values) == ["region"]


def test_what_changes_from_click_to_click_is_known_with_the_click() -> None:
    rng, sessions, clicks = np.random.default_rng(3), 500, 4
    item = rng.integers(1, 50, sessions * clicks)
    region = np.repeat(rng.integers(0, 5, sessions), clicks)
    moved = np.where(rng.random(len(item)) < 0.005, rng.integers(0, 5, len(item)), region)
    table = pa.table({"region": moved, "came_from": rng.integers(0, 5, len(item))})
    following = np.where(np.arange(len(item)) % clicks == clicks - 1, -1, np.arange(len(item)) + 1)
    chosen = choose_context(table, item, following)
    assert list(chosen.values) == ["region", "came_from"]
    assert chosen.of_click == ("came_from",) and chosen.places_of_click == (1,)
    assert choose_context(table, item, np.full(len(item), -1)).of_click == ()


@given(st.lists(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5), st.integers(0, 5)), max_size=8), max_size=4))
def test_a_request_is_described_by_what_the_last_click_said(slides: list[list[tuple[int, int, int]]]) -> None:
    clicks, said = LastClicks((1,)), dict.fromkeys(range(5), 0)
    for slide in slides:
        users = np.array([user for user, _, _ in slide], np.int64)
        context = np.array([codes for _, *codes in slide], np.int64).reshape(-1, 2)
        stored = dict(said)
        known, expected = clicks.before(users, context, within=False), []
        for user, own, of_click in slide:
            expected.append([own, said[user]])
            said[user] = of_click
        assert clicks.before(users, context).tolist() == expected
        assert known.tolist() == [[own, stored[user]] for user, own, _ in slide]
        clicks.observe(users, context)
