"""What the clock, the buckets and the assembler promise one by one."""

import dataclasses
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from dynmm_core.events.hashing import hash64
from dynmm_core.events.letters import Decoded
from dynmm_core.windows.clock import DRAINED_MS, PartitionClock
from dynmm_core.windows.intake import Intake
from dynmm_core.windows.messages import MAX_CHUNK_BYTES, Chunk, EndMarker, pack
from dynmm_core.windows.order import sort_canonically
from dynmm_core.windows.shard import ShardSettings, ShardWindow
from dynmm_core.windows.slides import SlideAssembler, SlideConflict

HOUR = 3_600_000
SHARDS = ("user-00", "user-01")


def batch(*events: tuple[int, str, str, str], **further: list[object]) -> pa.RecordBatch:
    columns = dict(zip(("event_time_ms", "event_id", "user_id", "item_id"), map(list, zip(*events, strict=True)), strict=True))
    return pa.RecordBatch.from_pydict({**columns, **further})


def messages_of(shard: str, *events: tuple[int, str, str, str], through: int = DRAINED_MS) -> list[Chunk | EndMarker]:
    window = ShardWindow("run", shard, [0], ShardSettings(HOUR))
    if events:
        window.add(batch(*events))
    return list(window.advance(0, through))


def test_an_event_is_late_by_the_newest_event_before_it_in_its_own_partition() -> None:
    # lateness 10 min, slides of 1 h          0h ───────── 1h ───────── 2h
    #   0:59  first                            .........x
    #   1:09  clock of slide 0h-1h still open             ..x
    #   0:58  in time: 1:09 - 0:10 < 1:00      ........x
    #   1:10  closes 0h-1h for what follows                ..x
    #   0:57  late                             .......x
    minute = 60_000
    clock = PartitionClock(HOUR, 10 * minute)
    reading = clock.read(np.array([59, 69, 58, 70, 57]) * minute)
    assert reading.late.tolist() == [False, False, False, False, True]
    assert reading.closed_through_ms == HOUR
    assert reading.passed


def test_a_clock_is_told_only_when_it_passes_a_slide() -> None:
    clock = PartitionClock(HOUR, 0)
    passed = [clock.read(np.array([time])).passed for time in (5, HOUR - 1, HOUR, HOUR + 1, 3 * HOUR)]
    assert passed == [True, False, True, False, True]
    assert clock.drain().closed_through_ms == DRAINED_MS
    assert not clock.drain().passed


def test_an_event_from_the_future_is_dead_and_moves_no_clock() -> None:
    intake = Intake("log", 0, HOUR, 0, max_skew_ms=1000)
    events = batch((10, "a", "u", "i"), (50 * HOUR, "b", "u", "i"), (20, "c", "u", "i"), ingest_time_ms=[10, 30, None])
    taken = intake.take(Decoded(events, np.array([7, 8, 9]), ()))
    assert [(letter.reason, letter.offset) for letter in taken.dead] == [("event_time_ms: 179999970 ms after ingest_time_ms", 8)]
    assert taken.events is not None
    assert taken.events["event_id"].to_pylist() == ["a", "c"]
    assert taken.hashes is not None
    assert taken.hashes.event.tolist() == hash64(pa.array(["a", "c"])).tolist()
    assert (taken.tally.read, taken.tally.dead, taken.tally.late) == (3, 1, 0)


def test_a_late_event_that_came_before_is_a_duplicate_and_any_other_is_kept_as_late() -> None:
    intake = Intake("log", 3, HOUR, 0, None)
    events = batch((5, "a", "u", "i"), (HOUR, "b", "u", "i"), (5, "a", "u", "i"), (6, "c", "u", "i"))
    taken = intake.take(Decoded(events, np.arange(4), ()))
    assert (taken.tally.late, taken.tally.duplicate) == (1, 1)
    (late,) = taken.late
    assert (late.partition, late.offset, late.late_by_ms) == (3, 3, 0)
    assert b'"event_id":"c"' in late.event


def test_events_of_a_slide_are_ordered_by_time_then_id_as_text() -> None:
    events = pa.Table.from_batches([batch((2, "b", "u", "i"), (1, "z", "u", "i"), (2, "a", "u", "i"), (2, "a", "t", "i"))])
    ordered = sort_canonically(events)
    assert ordered.select(["event_time_ms", "event_id", "user_id"]).to_pylist() == [
        {"event_time_ms": 1, "event_id": "z", "user_id": "u"},
        {"event_time_ms": 2, "event_id": "a", "user_id": "t"},
        {"event_time_ms": 2, "event_id": "a", "user_id": "u"},
        {"event_time_ms": 2, "event_id": "b", "user_id": "u"},
    ]


def test_a_run_of_empty_slides_costs_one_marker() -> None:
    window = ShardWindow("run", "user-00", [0], ShardSettings(HOUR))
    window.add(batch((5, "a", "u", "i"), (1000 * HOUR, "b", "u", "i")))
    sent = list(window.advance(0, 1000 * HOUR))
    (marker,) = [message for message in sent if isinstance(message, EndMarker)]
    assert (marker.slide_end_ms, marker.closed_through_ms, marker.events, marker.progress.pending) == (HOUR, 1000 * HOUR, 1, 1)


def test_a_slide_waits_for_the_slowest_partition_and_for_every_bucket() -> None:
    window = ShardWindow("run", "user-00", [0, 1], ShardSettings(HOUR))
    window.add(batch((5, "a", "u", "i")))
    assert list(window.advance(0, 5 * HOUR)) == []
    sent = list(window.advance(1, HOUR))
    assembler = SlideAssembler("run", SHARDS, HOUR)
    assert [slide for message in sent for slide in assembler.add(message)] == []
    (slide,) = [slide for message in messages_of("user-01") for slide in assembler.add(message)]
    assert slide.events["event_id"].to_pylist() == ["a"]
    assert assembler.open_slides == 0


def test_chunks_keep_to_their_size_however_uneven_the_rows() -> None:
    texts = ["x" * (1 if row % 100 else 200_000) for row in range(1000)]
    table = pa.table({"text": texts, "row": list(range(1000))})
    payloads = list(pack(table))
    assert max(map(len, payloads)) <= MAX_CHUNK_BYTES
    assert pa.concat_tables([pa.ipc.open_stream(payload).read_all() for payload in payloads]).equals(table)


def test_a_row_in_a_chunk_of_its_own_has_not_the_columns_of_others() -> None:
    rows = [{"event_id": "a", **{f"c{number}": "x" for number in range(9_000)}}, {"event_id": "b"}, {"event_id": "c", "d": "y"}]
    table = pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in {**rows[0], "d": ""}]))
    pieces = [pa.ipc.open_stream(payload).read_all() for payload in pack(table)]
    assert [piece.num_columns for piece in pieces] == [9_001, 1, 2]
    assert pa.concat_tables(pieces, promote_options="default").equals(table)


def test_a_slide_larger_than_a_chunk_comes_out_whole() -> None:
    events = [(row, f"{row:06}", f"u{row}", "i" * 400) for row in range(3000)]
    sent = messages_of("user-00", *events)
    assert sum(isinstance(message, Chunk) and message.kind == "events" for message in sent) > 1
    assembler = SlideAssembler("run", SHARDS[:1], HOUR)
    (slide,) = [slide for message in sent for slide in assembler.add(message)]
    assert slide.events["event_id"].to_pylist() == [f"{row:06}" for row in range(3000)]


def test_what_comes_again_unchanged_changes_nothing() -> None:
    sent = messages_of("user-00", (5, "a", "u", "i"))
    assembler = SlideAssembler("run", SHARDS[:1], HOUR)
    slides = [slide for message in [*sent, *sent] for slide in assembler.add(message)]
    assert len(slides) == 1
    assert assembler.open_slides == 0


def test_what_comes_again_with_other_content_stops_adapt() -> None:
    assembler = SlideAssembler("run", SHARDS, HOUR)
    for message in messages_of("user-00", (5, "a", "u", "i")):
        assembler.add(message)
    with pytest.raises(SlideConflict, match="other content"):
        assembler.add(messages_of("user-00", (5, "b", "u", "i"))[0])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda sent: sent[1:], "has 2 of 3 chunks"),
        (lambda sent: [dataclasses.replace(sent[0], payload=sent[1].payload), *sent[1:]], "does not hash"),
        (lambda sent: [dataclasses.replace(sent[0], run="other")], "not part of run"),
        (lambda sent: [dataclasses.replace(sent[0], shard="user-99")], "not part of run"),
    ],
)  # fmt: skip
def test_a_slide_that_is_not_what_its_marker_says_stops_adapt(spoil, said) -> None:  # type: ignore[no-untyped-def]
    assembler = SlideAssembler("run", SHARDS, HOUR)
    *before, last = spoil(messages_of("user-00", (5, "a", "u", "i")))
    for message in before:
        assembler.add(message)
    with pytest.raises(SlideConflict, match=said):
        assembler.add(last)


def test_columns_that_only_some_batches_have_are_null_in_the_others() -> None:
    window = ShardWindow("run", "user-00", [0], ShardSettings(HOUR))
    window.add(batch((5, "a", "u", "i"), zone=["north"]))
    window.add(batch((6, "b", "u", "i"), rating=[4.0]))
    assembler = SlideAssembler("run", SHARDS[:1], HOUR)
    (slide,) = [slide for message in window.advance(0, DRAINED_MS) for slide in assembler.add(message)]
    assert slide.events.column_names == ["event_time_ms", "event_id", "user_id", "item_id", "rating", "zone"]
    assert slide.events.select(["rating", "zone"]).to_pylist() == [
        {"rating": None, "zone": "north"},
        {"rating": 4.0, "zone": None},
    ]


@pytest.mark.parametrize(
    "module", ["flows.embedded", "flows.run", "flows.worker", "dynmm_core.windows.slides", "dynmm_core.events.arrow"]
)
def test_a_stream_worker_starts_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["dynmm_core.windows.slides", "dynmm_core.windows.shard", "dynmm_core.events.decode"])
def test_the_window_core_knows_no_engine(module: str) -> None:
    code = f"import sys, {module}; sys.exit('bytewax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_came_before_is_late_again_once_it_misses_by_a_whole_slide() -> None:
    events = batch((5, "a", "u", "i"), (2 * HOUR, "b", "u", "i"), (5, "a", "u", "i"))
    taken = Intake("log", 0, HOUR, 0, None).take(Decoded(events, np.arange(3), ()))
    assert (taken.tally.late, taken.tally.duplicate) == (1, 0) and taken.late[0].late_by_ms == HOUR


def test_an_event_at_the_very_bound_of_the_skew_is_sound_beside_one_beyond_it() -> None:
    events = batch((1_010, "a", "u", "i"), (1_011, "b", "u", "i"), ingest_time_ms=[10, 10])
    taken = Intake("log", 0, HOUR, 0, max_skew_ms=1_000).take(Decoded(events, np.arange(2), ()))
    assert taken.events is not None and taken.events["event_id"].to_pylist() == ["a"] and taken.dead[0].offset == 1
