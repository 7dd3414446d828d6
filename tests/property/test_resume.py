"""A run that is cut off anywhere and goes on from its end markers sends what an undisturbed run sends, and counts the same."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.windows.buckets import BUCKET_KEYS, split_by_bucket
from dynmm_core.windows.clock import NEVER_MS
from dynmm_core.windows.horizons import PANE_MS
from dynmm_core.windows.intake import Taken
from dynmm_core.windows.messages import Chunk, EndMarker, ShardState
from dynmm_core.windows.pairs import PairSettings
from dynmm_core.windows.partition import PartitionReader, ReadSettings
from dynmm_core.windows.progress import IdleCut, ReadPoint, RunProgress, ShardProgress, start_point
from dynmm_core.windows.resume import resume
from dynmm_core.windows.shard import ShardSettings, ShardWindow
from dynmm_core.windows.slides import Slide, SlideAssembler

SLIDE_MS = 2 * PANE_MS
START_MS = 1_700_000_400_000
SETTINGS = ShardSettings(SLIDE_MS, None, PairSettings())
Log = dict[int, list[bytes]]


@dataclass
class Topic:
    """What a run has left behind: the markers, content by key, and the buckets' states by hash."""

    markers: dict[str, list[EndMarker]] = field(default_factory=dict)
    content: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    ends: dict[tuple[str, int], tuple[str, int, int]] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)
    messages: list[Chunk | EndMarker] = field(default_factory=list)

    def take(self, message: Chunk | EndMarker | ShardState) -> None:
        if isinstance(message, ShardState):
            self.states[message.digest] = message.payload
            return
        self.messages.append(message)
        if isinstance(message, Chunk):
            key = (message.shard, message.slide_end_ms, message.index)
            assert self.content.setdefault(key, message.payload) == message.payload, key
            return
        self.markers.setdefault(message.shard, []).append(message)
        if message.chunks:
            told = (message.digest, message.events, message.duplicates)
            assert self.ends.setdefault((message.shard, message.slide_end_ms), told) == told


@dataclass
class Attempt:
    """One attempt at the log: readers and buckets, opened where the topic says."""

    readers: dict[int, PartitionReader]
    shards: dict[str, ShardWindow]

    @classmethod
    def on(cls, topic: Topic, log: Log, reading: ReadSettings) -> "Attempt":
        found = resume(topic.markers, BUCKET_KEYS)
        cuts = [IdleCut(part, len(messages), 1 << 62) for part, messages in log.items()]
        if found is None:
            points = {part: start_point(part, 0) for part in log}
            readers = {part: PartitionReader("log", point, reading, NEVER_MS, cuts) for part, point in points.items()}
            return cls(readers, {key: ShardWindow("run", key, log, SETTINGS) for key in BUCKET_KEYS})
        progress = RunProgress.from_json(json.loads(json.dumps(found.progress.to_json())))
        through = progress.through_ms
        readers = {
            part: PartitionReader("log", progress.points.get(part, start_point(part, 0)), reading, through, (*found.cuts, *cuts))
            for part in log
        }
        shards = {}
        for key, one in progress.shards.items():
            tails = None if one.tails is None else topic.states[one.tails]
            carried = ShardProgress(one.used, one.duplicates, one.pending, one.tails, progress.points, progress.cuts)
            shards[key] = ShardWindow("run", key, log, SETTINGS, through, carried, tails, found.cuts)
        return cls(readers, shards)

    def run(self, log: Log, turns: list[tuple[int, int]]) -> Iterator[Chunk | EndMarker | ShardState]:
        """Read in the order of ``turns`` (partition, messages), then the rest."""
        rest = [(part, 3) for _ in range(max(map(len, log.values()), default=0) + 1) for part in log]
        for part, size in [(turn % len(log), size) for turn, size in turns] + rest:
            reader = self.readers[part]
            first, last = reader.next_offset, min(reader.next_offset + size, len(log[part]))
            for taken in reader.read(log[part][first:last], range(first, last), None, last):
                yield from self._route(part, taken)

    def _route(self, part: int, taken: Taken) -> Iterator[Chunk | EndMarker | ShardState]:
        for bucket, *events in split_by_bucket(taken.events, taken.hashes) if taken.events is not None else ():
            self.shards[BUCKET_KEYS[bucket]].add(*events)
        if taken.closed_through_ms is not None or taken.cut is not None:
            for shard in self.shards.values():
                yield from shard.advance(part, taken.closed_through_ms, taken.point, taken.cut)

    def accounting(self) -> dict[str, int]:
        tallies = [reader.tally for reader in self.readers.values()]
        return {
            "read": sum(tally.read for tally in tallies),
            "late": sum(tally.late for tally in tallies),
            "dead": sum(tally.dead for tally in tallies),
            "used": sum(shard.progress.used for shard in self.shards.values()),
            "duplicate": sum(tally.duplicate for tally in tallies) + sum(s.progress.duplicates for s in self.shards.values()),
            "pending": sum(shard.pending for shard in self.shards.values()),
        }


def undisturbed(log: Log, reading: ReadSettings) -> tuple[Topic, dict[str, int]]:
    topic = Topic()
    attempt = Attempt.on(topic, log, reading)
    for message in attempt.run(log, []):
        topic.take(message)
    return topic, attempt.accounting()


events = st.tuples(st.integers(0, 90), st.integers(0, 30), st.integers(0, 7), st.integers(0, 4))
logs = st.lists(st.lists(events, max_size=25), min_size=1, max_size=3)
turns = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, 2, 9, 25])), max_size=30)


def log_of(rows: list[list[tuple[int, int, int, int]]], in_order: bool) -> Log:
    log: Log = {}
    for part, events in enumerate(rows):
        some = sorted(events) if in_order else events
        log[part] = [
            json.dumps({"event_time_ms": START_MS + minute * 60_000, "event_id": f"e{number}", "user_id": f"u{user}",
                        "item_id": f"i{item}"}).encode() if number != 30 else b"no event"
            for minute, number, user, item in some
        ]  # fmt: skip
    return log


@settings(max_examples=120, deadline=None)
@given(
    rows=logs, in_order=st.booleans(), turns=turns, cuts=st.lists(st.integers(0, 60), max_size=4),
    lateness_ms=st.sampled_from([0, 60_000, PANE_MS, 3 * SLIDE_MS]),
)  # fmt: skip
def test_a_run_cut_off_anywhere_goes_on_as_if_nothing_had_happened(
    rows: list[list[tuple[int, int, int, int]]], in_order: bool, turns: list[tuple[int, int]], cuts: list[int], lateness_ms: int
) -> None:
    log, reading = log_of(rows, in_order), ReadSettings(SLIDE_MS, lateness_ms, None)
    expected, counted = undisturbed(log, reading)
    topic = Topic()
    for cut in [*cuts, 1 << 30]:
        found = resume(topic.markers, BUCKET_KEYS)
        if found is not None and found.drained:
            break
        attempt = Attempt.on(topic, log, reading)
        for sent, message in enumerate(attempt.run(log, turns)):
            if sent >= cut:
                break
            topic.take(message)
        else:
            assert attempt.accounting() == counted
    assert topic.content == expected.content
    assert topic.ends == expected.ends
    assert counted["read"] == sum(counted[name] for name in ("used", "late", "duplicate", "dead", "pending"))
    assert counted["pending"] == 0


@settings(max_examples=60, deadline=None)
@given(rows=logs, turns=turns, stop=st.integers(0, 40))
def test_a_run_that_is_stopped_has_counted_every_event_it_has_read(
    rows: list[list[tuple[int, int, int, int]]], turns: list[tuple[int, int]], stop: int
) -> None:
    log = log_of(rows, False)
    attempt = Attempt.on(Topic(), log, ReadSettings(SLIDE_MS, 60_000, None))
    for part, size in [(turn % len(log), size) for turn, size in turns][:stop]:
        reader = attempt.readers[part]
        first, last = reader.next_offset, min(reader.next_offset + size, len(log[part]))
        for taken in reader.read(log[part][first:last], range(first, last), None, last):
            list(attempt._route(part, taken))
        counted = attempt.accounting()
        assert counted["read"] == sum(counted[name] for name in ("used", "late", "duplicate", "dead", "pending"))


@settings(max_examples=60, deadline=None)
@given(rows=logs, stop=st.integers(0, 100))
def test_adapt_goes_on_behind_any_slide(rows: list[list[tuple[int, int, int, int]]], stop: int) -> None:
    log, reading = log_of(rows, True), ReadSettings(SLIDE_MS, 0, None)
    topic, _ = undisturbed(log, reading)
    whole = SlideAssembler("run", BUCKET_KEYS, SLIDE_MS)
    slides: list[Slide] = [slide for message in topic.messages for slide in whole.add(message)]
    if not slides:
        return
    head = slides[stop % len(slides)]
    progress = RunProgress.from_json(json.loads(json.dumps(head.resume)))
    again = SlideAssembler("run", BUCKET_KEYS, SLIDE_MS, None, progress)
    later = [slide for message in topic.messages for slide in again.add(message)]
    assert [slide.events for slide in later] == [slide.events for slide in slides if slide.slide_end_ms > head.slide_end_ms]
    assert [slide.resume for slide in later] == [slide.resume for slide in slides if slide.slide_end_ms > head.slide_end_ms]


def test_an_idle_partition_holds_nothing_open_and_its_late_comers_are_late_for_ever() -> None:
    #   partition 0   1:00 ─ 1:10 ─ 1:30           closes slides as it goes
    #   partition 1   1:00 ─ (silent) ─ 1:01       declared idle at offset 1 through 1:20: what follows of 1:00 is late
    minute = 60_000

    def message(at: int, number: int) -> bytes:
        row = {"event_time_ms": START_MS + at * minute, "event_id": f"e{number}", "user_id": "u", "item_id": "i"}
        return json.dumps(row).encode()

    reading = ReadSettings(SLIDE_MS, 0, None)
    reader = PartitionReader("log", start_point(1, 0), reading)
    reader.read([message(0, 0)], [0], None, 1)
    (cut,) = reader.idle(START_MS + 25 * minute, 5 * minute)
    assert cut.cut == IdleCut(1, 1, START_MS + 20 * minute)
    assert cut.closed_through_ms == START_MS + 20 * minute
    (late,) = reader.read([message(1, 1)], [1], None, 2)
    assert (late.tally.late, late.events) == (1, None)

    # Another attempt that knows the cut meets it at the same place, whatever its batches.
    again = PartitionReader("log", start_point(1, 0), reading, cuts=[cut.cut])
    taken = again.read([message(0, 0), message(1, 1)], [0, 1], None, 2)
    assert again.tally == late.tally
    assert [one.cut for one in taken if one.cut is not None] == [cut.cut]


def test_a_late_duplicate_of_an_event_before_the_point_is_known_after_a_resume() -> None:
    #   offset  0        1 (closes 0:00-0:10)   2 = offset 0 again, late      3 (closes 0:10-0:20)
    #           0:01     0:12                   0:01                          0:21
    rows = [[(1, 1, 1, 1), (12, 2, 1, 1), (1, 1, 1, 1), (21, 3, 1, 1)]]
    log, reading, topic = log_of(rows, False), ReadSettings(SLIDE_MS, 0, None), Topic()
    first = Attempt.on(topic, log, reading)
    for offset in (0, 1):
        for taken in first.readers[0].read([log[0][offset]], [offset], None, offset + 1):
            for message in first._route(0, taken):
                topic.take(message)
    found = resume(topic.markers, BUCKET_KEYS)
    assert found is not None and found.progress.points[0].offset == 1
    again = Attempt.on(topic, log, reading)
    for message in again.run(log, []):
        topic.take(message)
    assert again.accounting() == {"read": 4, "used": 3, "late": 0, "duplicate": 1, "dead": 0, "pending": 0}


def test_a_late_duplicate_is_known_however_far_behind_the_slide_its_batch_begins() -> None:
    #   offset  0      1 (closes 0:00-0:10)   2 = offset 0 again, late     3 (closes up to 1:00)   4
    #           0:01   0:12                   0:01                         1:01                    1:12
    rows = [[(1, 1, 1, 1), (12, 2, 1, 1), (1, 1, 1, 1), (61, 3, 1, 1), (72, 4, 1, 1)]]
    log, reading, topic = log_of(rows, False), ReadSettings(SLIDE_MS, 0, None), Topic()
    first = Attempt.on(topic, log, reading)
    for start, stop in ((0, 2), (2, 4)):  # the point behind 1:00 is that before offset 2, whose clock stands at 0:10
        for taken in first.readers[0].read(log[0][start:stop], range(start, stop), None, stop):
            for message in first._route(0, taken):
                topic.take(message)
    found = resume(topic.markers, BUCKET_KEYS)
    assert found is not None and found.progress.points[0].offset == 2
    again = Attempt.on(topic, log, reading)
    for message in again.run(log, []):
        topic.take(message)
    assert again.accounting() == {"read": 5, "used": 4, "late": 0, "duplicate": 1, "dead": 0, "pending": 0}


def test_a_point_says_from_where_late_duplicates_are_known() -> None:
    point = ReadPoint.from_json(2, [7, 3, 10, -5, 4, 1, 1, 0])
    assert (point.offset, point.memory_offset, point.tally.partition, point.tally.read) == (7, 3, 2, 4)
    assert point.to_json() == [7, 3, 10, -5, 4, 1, 1, 0]
    assert np.iinfo(np.int64).max > 1 << 62


def marker_of(shard: str, slide: int, used: int, cuts: tuple[IdleCut, ...] = ()) -> EndMarker:
    end_ms = START_MS + slide * SLIDE_MS
    return EndMarker("run", shard, end_ms, end_ms, 0, "", 0, 0, ShardProgress(used, tails=f"{shard}{slide}", cuts=cuts))


def test_a_run_goes_on_behind_a_buckets_newest_slide_although_an_older_one_was_sent_again_later() -> None:
    #   first start    a: 1 2 3 4 5    c: 1 2          goes on behind 2
    #   second start   a: 3            c: 3 4          goes on behind 4, where the first start has told of a
    a = [marker_of("a", slide, slide * 10) for slide in (1, 2, 3, 4, 5, 3)]
    c = [marker_of("c", slide, slide * 10) for slide in (1, 2, 3, 4)]
    found = resume({"a": a, "c": c}, "ac")
    assert found is not None and found.progress.through_ms == START_MS + 4 * SLIDE_MS
    assert {shard: (one.used, one.tails) for shard, one in found.progress.shards.items()} == {"a": (40, "a4"), "c": (40, "c4")}


def test_a_cut_that_only_an_earlier_start_recorded_is_told_of_again_until_it_is_met() -> None:
    #   first start    a: 1 … 9, a cut behind 8    c: 1       second start   both: 2 …, before the cut is met
    #   a third start that looks back no further than the second one's markers knows the cut, too
    cut = IdleCut(1, 7, START_MS + 8 * SLIDE_MS)
    first = {"a": [marker_of("a", slide, 0, (cut,) if slide >= 8 else ()) for slide in range(1, 10)], "c": [marker_of("c", 1, 0)]}
    found = resume(first, "ac")
    assert found is not None and found.cuts == (cut,) and not found.progress.cuts
    second: dict[str, list[EndMarker]] = {}
    for shard in "ac":
        window = ShardWindow("run", shard, [0, 1], SETTINGS, found.progress.through_ms, ShardProgress(), None, found.cuts)
        for slide in (2, 3):
            for partition in (0, 1):
                sent = window.advance(partition, START_MS + slide * SLIDE_MS, start_point(partition, 5 + slide))
                second.setdefault(shard, []).extend(one for one in sent if isinstance(one, EndMarker))
        assert [marker.progress.told for marker in second[shard]] == [(cut,), ()]  # behind 3 the partition is read on from 8
        list(window.advance(1, cut.closed_through_ms, start_point(1, 8), cut))
        assert ShardProgress.from_json(second[shard][0].progress.to_json()) == second[shard][0].progress
    third = resume({shard: markers[:1] for shard, markers in second.items()}, "ac")
    assert third is not None and third.cuts == (cut,) and not third.progress.cuts
