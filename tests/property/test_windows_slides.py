"""Slides as a pure function of the log: whatever the batches, partitions and interleaving, they equal their definition."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.events.hashing import hash64
from dynmm_core.events.letters import Decoded
from dynmm_core.windows.buckets import BUCKET_KEYS, split_by_bucket
from dynmm_core.windows.horizons import PANE_MS
from dynmm_core.windows.intake import Intake, Taken
from dynmm_core.windows.messages import Chunk, SlideMessage
from dynmm_core.windows.shard import ShardSettings, ShardWindow
from dynmm_core.windows.slides import Slide, SlideAssembler

SLIDE_MS = 2 * PANE_MS
START_MS = 1_700_000_400_000  # a multiple of the slide


@dataclass(frozen=True)
class Event:
    event_time_ms: int
    event_id: str
    user_id: str
    item_id: str

    @property
    def slide_end_ms(self) -> int:
        return (self.event_time_ms // SLIDE_MS + 1) * SLIDE_MS


def as_batch(events: list[Event]) -> pa.RecordBatch:
    columns = ("event_time_ms", "event_id", "user_id", "item_id")
    types = (pa.int64(), pa.string(), pa.string(), pa.string())
    return pa.RecordBatch.from_arrays(
        [pa.array([getattr(event, name) for event in events], kind) for name, kind in zip(columns, types, strict=True)], columns
    )


def partition_of(event: Event, partitions: int) -> int:
    return int(hash64(pa.array([event.user_id]))[0]) % partitions


def by_definition(log: list[Event], partitions: int, lateness_ms: int) -> tuple[dict[int, list[Event]], dict[str, int]]:
    """Slides and counts of outcomes, event by event, straight from the words of the contract."""
    newest: dict[int, int] = {}
    slides: dict[int, list[Event]] = defaultdict(list)
    read: dict[tuple[int, str, str], bool] = {}
    outcome = dict.fromkeys(("late", "late_duplicate", "duplicate"), 0)
    in_time: list[Event] = []
    for event in log:
        partition = partition_of(event, partitions)
        limit = newest.get(partition, -(10**18)) - lateness_ms
        key = (event.slide_end_ms, event.user_id, event.event_id)
        if event.slide_end_ms <= limit:
            again = key in read and limit - event.slide_end_ms < SLIDE_MS
            outcome["late_duplicate" if again else "late"] += 1
        else:
            in_time.append(event)
        read[key] = True
        newest[partition] = max(newest.get(partition, event.event_time_ms), event.event_time_ms)
    # Of duplicates the earliest stays, of equally early ones the one whose item has the lowest hash.
    taken: set[tuple[int, str, str]] = set()
    for event in sorted(in_time, key=lambda e: (e.event_time_ms, hash64(pa.array([e.item_id]))[0])):
        key = (event.slide_end_ms, event.user_id, event.event_id)
        if key in taken:
            outcome["duplicate"] += 1
        else:
            taken.add(key)
            slides[event.slide_end_ms].append(event)
    for events in slides.values():
        events.sort(key=lambda e: (e.event_time_ms, e.event_id, e.user_id, e.item_id))
    return slides, outcome


def run_pipeline(
    log: list[Event], partitions: int, batch_size: int, lateness_ms: int, turns: list[int]
) -> tuple[list[Slide], list[Taken], list[SlideMessage]]:
    """The state machines joined by hand; ``turns`` says in which order the partitions are read."""
    intakes = [Intake("log", part, SLIDE_MS, lateness_ms, None) for part in range(partitions)]
    shards = [ShardWindow("run", key, range(partitions), ShardSettings(SLIDE_MS)) for key in BUCKET_KEYS]
    assembler = SlideAssembler("run", BUCKET_KEYS, SLIDE_MS)
    logs = [[event for event in log if partition_of(event, partitions) == part] for part in range(partitions)]
    slides: list[Slide] = []
    all_taken: list[Taken] = []
    messages: list[SlideMessage] = []

    def route(part: int, taken: Taken) -> None:
        all_taken.append(taken)
        for bucket, *events in split_by_bucket(taken.events, taken.hashes) if taken.events is not None else ():
            shards[bucket].add(*events)
        if taken.closed_through_ms is not None:
            for shard in shards:
                for message in shard.advance(part, taken.closed_through_ms):
                    messages.append(message)
                    slides.extend(assembler.add(message))

    positions = [0] * partitions
    for part in [turn % partitions for turn in turns] + list(range(partitions)) * len(log):
        piece = logs[part][positions[part] : positions[part] + batch_size]
        if not piece:
            continue
        offsets = np.arange(positions[part], positions[part] + len(piece))
        positions[part] += len(piece)
        batch = as_batch(piece)
        route(part, intakes[part].take(Decoded(batch, offsets, ())))
    for part, intake in enumerate(intakes):
        route(part, intake.drain())
    assert sum(shard.pending for shard in shards) == 0
    return slides, all_taken, messages


def rows(slide: Slide) -> list[Event]:
    return [Event(**row) for row in slide.events.to_pylist()]


def counts_by_definition(events: list[Event]) -> list[dict[str, object]]:
    cells: dict[tuple[int, str], list[str]] = defaultdict(list)
    for event in events:
        cells[event.event_time_ms // PANE_MS * PANE_MS, event.item_id].append(event.user_id)
    return [
        {"item_id": item, "pane_start_ms": pane, "events": len(users), "users": len(set(users))}
        for (pane, item), users in sorted(cells.items())
    ]


minutes = st.integers(0, 90)
log_of_events = st.lists(
    st.builds(
        lambda minute, jitter, number, user, item: Event(
            START_MS + minute * 60_000 + jitter, f"e{number:02}", f"u{user}", f"i{item}"
        ),
        minutes, st.integers(0, 2), st.integers(0, 12), st.integers(0, 9), st.integers(0, 4),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    log=log_of_events,
    in_order=st.booleans(),
    partitions=st.integers(1, 4),
    batch_size=st.sampled_from([1, 2, 7, 1000]),
    lateness_ms=st.sampled_from([0, 60_000, PANE_MS, 6 * SLIDE_MS]),
    turns=st.lists(st.integers(0, 3), max_size=40),
)
def test_slides_equal_their_definition_and_every_event_is_accounted_for(
    log: list[Event], in_order: bool, partitions: int, batch_size: int, lateness_ms: int, turns: list[int]
) -> None:
    if in_order:
        log = sorted(log, key=lambda event: event.event_time_ms)
    slides, taken, _ = run_pipeline(log, partitions, batch_size, lateness_ms, turns)
    expected, outcome = by_definition(log, partitions, lateness_ms)

    assert [slide.slide_end_ms for slide in slides] == sorted(expected)
    for slide in slides:
        assert rows(slide) == expected[slide.slide_end_ms]
        assert slide.counts.to_pylist() == counts_by_definition(expected[slide.slide_end_ms])
        assert slide.slide_start_ms == slide.slide_end_ms - SLIDE_MS and slide.slide_end_ms % SLIDE_MS == 0

    newest = {part.tally.partition: part.tally for part in taken}
    assert sum(tally.read for tally in newest.values()) == len(log)
    assert sum(tally.late for tally in newest.values()) == outcome["late"] == sum(len(part.late) for part in taken)
    assert sum(tally.duplicate for tally in newest.values()) == outcome["late_duplicate"]
    assert sum(slide.duplicates for slide in slides) == outcome["duplicate"]
    used = sum(slide.events.num_rows for slide in slides)
    assert len(log) == used + outcome["late"] + outcome["late_duplicate"] + outcome["duplicate"]


@settings(max_examples=30, deadline=None)
@given(log=log_of_events, turns=st.lists(st.integers(0, 3), max_size=40))
def test_within_the_allowed_lateness_partitions_batches_and_interleaving_change_nothing(
    log: list[Event], turns: list[int]
) -> None:
    always = 10 * SLIDE_MS
    first, _, _ = run_pipeline(log, 1, 1, always, [])
    for partitions, batch_size in ((1, 7), (2, 1000), (4, 1), (4, 7)):
        again, _, _ = run_pipeline(log, partitions, batch_size, always, turns)
        assert [slide.events for slide in again] == [slide.events for slide in first]
        assert [slide.counts for slide in again] == [slide.counts for slide in first]


@settings(max_examples=30, deadline=None)
@given(log=log_of_events, batch_size=st.sampled_from([2, 7, 1000]), lateness_ms=st.sampled_from([0, PANE_MS]))
def test_a_bucket_sends_the_same_bytes_whatever_the_batches(log: list[Event], batch_size: int, lateness_ms: int) -> None:
    def sent(batch_size: int) -> dict[tuple[str, int, int], bytes]:
        _, _, messages = run_pipeline(log, 1, batch_size, lateness_ms, [])
        chunks = [message for message in messages if isinstance(message, Chunk)]
        return {(chunk.shard, chunk.slide_end_ms, chunk.index): chunk.payload for chunk in chunks}

    assert sent(batch_size) == sent(1)


def test_an_event_behind_every_clock_is_refused_by_the_bucket() -> None:
    shard = ShardWindow("run", "user-00", [0], ShardSettings(SLIDE_MS))
    list(shard.advance(0, START_MS + SLIDE_MS))
    with pytest.raises(ValueError, match="after it was closed"):
        shard.add(as_batch([Event(START_MS, "e", "u", "i")]))
