"""A faulty log does to a reader exactly what it says: by its definition in plain Python, and by the reader itself."""

import json
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.windows.buckets import BUCKET_KEYS, split_by_bucket
from dynmm_core.windows.horizons import PANE_MS
from dynmm_core.windows.partition import PartitionReader, ReadSettings
from dynmm_core.windows.progress import start_point
from dynmm_core.windows.shard import ShardSettings, ShardWindow
from dynmm_core.windows.slides import Slide, SlideAssembler
from simulators.faults import FaultRates, inject
from simulators.faulty_log import FaultyLog
from simulators.placement import Outcome

START_MS = 1_700_000_400_000  # a multiple of every slide here
SKEW_MS = 600_000
Row = tuple[int, str, str, str]


@dataclass(frozen=True)
class Case:
    """What is injected into what."""

    events: pa.Table
    rates: FaultRates
    seed: int
    partitions: int
    slide_ms: int
    lateness_ms: int

    def log(self) -> FaultyLog:
        return inject(self.events, self.rates, self.seed, self.partitions, self.slide_ms, self.lateness_ms, SKEW_MS)


@dataclass
class Verdict:
    """The fate of every message, and the slides."""

    late: list[tuple[int, int]] = field(default_factory=list)
    late_duplicate: list[tuple[int, int]] = field(default_factory=list)
    dead: list[tuple[int, int]] = field(default_factory=list)
    duplicate: int = 0
    slides: dict[int, list[Row]] = field(default_factory=lambda: defaultdict(list))


def event_of(value: bytes, place: str) -> Row | None:
    """The event in a message, in the words of the contract; None where there is none."""
    try:
        row = json.loads(value.decode())
    except (UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(row, dict):
        return None
    time = row.get("event_time_ms")
    if type(time) is not int or not 0 <= time <= 253_402_300_799_999:
        return None
    ids = [place if row.get("event_id") is None else row["event_id"], row.get("user_id"), row.get("item_id")]
    if not all(type(one) is str and 0 < len(one.encode()) <= 1024 for one in ids):
        return None
    return (time, *ids)


def by_definition(log: FaultyLog, slide_ms: int, lateness_ms: int) -> Verdict:
    """Walk every partition message by message; then find duplicates in each slide, over all partitions."""
    verdict = Verdict()
    in_time: list[Row] = []
    for partition, messages in enumerate(log.messages):
        newest = -(10**18)
        read: set[tuple[int, str, str]] = set()
        for offset, message in enumerate(messages):
            event = event_of(message.value, f"log/{partition}/{offset}")
            if event is None or event[0] - message.timestamp_ms > SKEW_MS:
                verdict.dead.append((partition, offset))
                continue
            slide_end_ms = (event[0] // slide_ms + 1) * slide_ms
            key = (slide_end_ms, event[2], event[1])
            late_by_ms = newest - lateness_ms - slide_end_ms
            if late_by_ms < 0:
                in_time.append(event)
            elif key in read and late_by_ms < slide_ms:
                verdict.late_duplicate.append((partition, offset))
            else:
                verdict.late.append((partition, offset))
            read.add(key)
            newest = max(newest, event[0])
    taken: set[tuple[int, str, str]] = set()
    for event in sorted(in_time):
        slide_end_ms = (event[0] // slide_ms + 1) * slide_ms
        key = (slide_end_ms, event[2], event[1])
        if key in taken:
            verdict.duplicate += 1
        else:
            taken.add(key)
            verdict.slides[slide_end_ms].append(event)
    return verdict


def read_through(log: FaultyLog, case: Case, batch: int) -> tuple[list[Slide], list[PartitionReader]]:
    """The reader's own machines: decode, take in, collect, close."""
    reading = ReadSettings(case.slide_ms, case.lateness_ms, SKEW_MS)
    readers = [PartitionReader("log", start_point(number, 0), reading) for number in range(case.partitions)]
    shards = [ShardWindow("run", key, range(case.partitions), ShardSettings(case.slide_ms)) for key in BUCKET_KEYS]
    assembler = SlideAssembler("run", BUCKET_KEYS, case.slide_ms)
    slides: list[Slide] = []
    for partition, (reader, messages) in enumerate(zip(readers, log.messages, strict=True)):
        reader.end_at(len(messages))
        for first in [*range(0, len(messages), batch), len(messages)]:
            piece = messages[first : first + batch]
            offsets = range(first, first + len(piece))
            times = np.array([m.timestamp_ms for m in piece], np.int64)
            for taken in reader.read([m.value for m in piece], offsets, times, offsets.stop):
                if taken.events is not None:
                    for bucket, *events in split_by_bucket(taken.events, taken.hashes):
                        shards[bucket].add(*events)
                if taken.closed_through_ms is not None:
                    for shard in shards:
                        for sent in shard.advance(partition, taken.closed_through_ms):
                            slides.extend(assembler.add(sent))
    return slides, readers


def rows_of(table: pa.Table) -> list[Row]:
    return list(zip(*(table[name].to_pylist() for name in ("event_time_ms", "event_id", "user_id", "item_id")), strict=True))


def share(most: float) -> st.SearchStrategy[float]:
    return st.sampled_from([0.0, most / 4, most])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    partitions = draw(st.integers(1, 5))
    slide_ms = draw(st.sampled_from([PANE_MS, 2 * PANE_MS]))
    # Near whole minutes, where slides and lateness end.
    moments = draw(st.lists(st.tuples(st.integers(0, 40), st.integers(-1, 1)), max_size=80))
    times = np.array(sorted(START_MS + 60_000 * minute + offset for minute, offset in moments), np.int64)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    users, items = rng.integers(0, 9, len(times)), rng.integers(0, 5, len(times))
    events = pa.table({
        "event_time_ms": pa.array(times, pa.int64()),
        "event_id": pa.array([f"e{number}" for number in range(len(times))], pa.string()),
        "user_id": pa.array([f"u{number}" for number in users], pa.string()),
        "item_id": pa.array([f"i{number}" for number in items], pa.string()),
    })  # fmt: skip
    idle = draw(st.dictionaries(st.integers(0, partitions - 1), st.sampled_from([0.0, 0.3, 0.8, 1.0]), max_size=partitions - 1))
    rates = FaultRates(
        late=draw(share(0.5)), out_of_order=draw(share(0.3)), malformed=draw(share(0.05)), future=draw(share(0.05)),
        oversized=draw(share(0.05)), without_event_id=draw(share(0.05)), duplicate=draw(share(1.0)), roaming=draw(share(0.5)),
        idle_after=idle,
    )  # fmt: skip
    lateness_ms = draw(st.sampled_from([0, 1, 60_000, PANE_MS, 3 * PANE_MS]))
    return Case(events, rates, draw(st.integers(0, 99)), partitions, slide_ms, lateness_ms)


@settings(max_examples=250, deadline=None)
@given(case=cases())
def test_every_message_meets_the_fate_it_was_made_for(case: Case) -> None:
    log = case.log()
    verdict = by_definition(log, case.slide_ms, case.lateness_ms)
    assert log.offsets(Outcome.LATE) == verdict.late
    assert log.offsets(Outcome.LATE_DUPLICATE) == verdict.late_duplicate
    assert log.offsets(Outcome.DEAD) == verdict.dead

    expected = log.expected
    used = [event for _, slide in sorted(verdict.slides.items()) for event in slide]
    assert rows_of(log.used("log")) == used
    assert expected.used == len(used) and expected.slides == len(verdict.slides)
    assert expected.duplicate == verdict.duplicate + len(verdict.late_duplicate)
    assert expected.read == sum(map(len, log.messages))
    assert expected.read == expected.used + expected.late + expected.duplicate + expected.dead
    assert expected.dead == expected.malformed + expected.future + expected.oversized


@settings(max_examples=40, deadline=None)
@given(case=cases(), batch=st.sampled_from([1, 3, 1000]))
def test_the_reader_makes_of_it_what_was_expected(case: Case, batch: int) -> None:
    log = case.log()
    slides, readers = read_through(log, case, batch)
    assert tuple(reader.tally for reader in readers) == log.tallies()
    assert [row for slide in slides for row in rows_of(slide.events)] == rows_of(log.used("log"))
    late_duplicate = sum(tally.duplicate for tally in log.tallies())
    assert sum(slide.duplicates for slide in slides) + late_duplicate == log.expected.duplicate


@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_silent_partitions_stay_silent_and_nothing_comes_before_it_happened(case: Case) -> None:
    log = case.log()
    for messages, outcomes in zip(log.messages, log.outcomes, strict=True):
        alive = [message for message, outcome in zip(messages, outcomes, strict=True) if outcome != Outcome.DEAD]
        assert all(json.loads(message.value)["event_time_ms"] <= message.timestamp_ms for message in alive)
    times = case.events["event_time_ms"].to_pylist()
    for partition, after in case.rates.idle_after.items():
        row = int(after * len(times))
        until = times[row] if after > 0 and row < len(times) else (float("inf") if after else 0)
        assert all(message.timestamp_ms < until for message in log.messages[partition])
    merged: list[list[object]] = [[] for _ in log.messages]
    for partition, message in log.in_time_order():
        merged[partition].append(message)
    assert [tuple(messages) for messages in merged] == list(log.messages)
