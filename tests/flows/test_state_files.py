"""What buckets carry: written for all of them at once, found again by hash, and kept as long as a bucket may need it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from dynmm_core.errors import UserError
from dynmm_core.windows.buckets import BUCKET_KEYS
from dynmm_core.windows.messages import Chunk, EndMarker, ShardState, hash_of
from dynmm_core.windows.progress import ShardProgress
from flows.kafka import sinks
from flows.kafka.process import LiveProcess
from flows.kafka.settings import KafkaSettings
from flows.live.recovery import RecoveryFolder
from flows.live.state_files import KEPT_STATES
from flows.observe.health import Health
from flows.observe.metrics import FlowMetrics


def state(shard: str, slide: int) -> ShardState:
    payload = f"{shard} behind {slide}".encode() * (slide % 3 + 1)
    return ShardState("run", shard, slide * 900_000, hash_of(payload).hex(), payload)


def keep(folder: RecoveryFolder, *states: ShardState) -> None:
    for one in states:
        folder.keep(one)
    folder.settle()


def files(path: Path) -> list[Path]:
    return sorted((path / "tails").glob("*"))


def test_states_of_several_buckets_lie_in_one_file_once_they_are_settled(tmp_path: Path) -> None:
    folder, states = RecoveryFolder(tmp_path), [state(f"user-{bucket:02}", 7) for bucket in range(16)]
    for one in states:
        folder.keep(one)
    assert files(tmp_path) == []
    folder.settle()
    folder.settle()
    assert len(files(tmp_path)) == 1
    for one in states:
        assert RecoveryFolder(tmp_path).load(one.shard, one.digest) == one.payload


def test_a_slide_that_is_sent_again_leaves_its_file_as_it_was(tmp_path: Path) -> None:
    keep(RecoveryFolder(tmp_path), state("a", 1), state("b", 1))
    (file,) = files(tmp_path)
    written = file.stat().st_mtime_ns
    keep(RecoveryFolder(tmp_path), state("a", 1), state("b", 1))
    assert (files(tmp_path), file.stat().st_mtime_ns) == ([file], written)


def tell(folder: RecoveryFolder, slide: int, shards: Iterable[str] = BUCKET_KEYS) -> None:
    for shard in shards:
        folder.note_told(shard, slide * 900_000)


def test_the_last_states_of_every_bucket_stay_however_long_it_is_silent(tmp_path: Path) -> None:
    folder, other = RecoveryFolder(tmp_path), RecoveryFolder(tmp_path)
    a, b, silent = BUCKET_KEYS[:3]
    keep(folder, state(a, 0), state(silent, 0))
    for slide in range(1, KEPT_STATES + 10):
        keep(folder, state(a, slide))
        keep(other, state(b, slide))
        tell(folder, slide, (a, silent))
        tell(other, slide, (b, *BUCKET_KEYS[3:]))
    keep(folder, state(a, KEPT_STATES + 10))
    keep(other, state(b, KEPT_STATES + 10))
    assert other.load(silent, state(silent, 0).digest) == state(silent, 0).payload
    for shard in (a, b):
        oldest = state(shard, 10)
        assert RecoveryFolder(tmp_path).load(shard, oldest.digest) == oldest.payload
        with pytest.raises(UserError, match=f"has no state {state(shard, 9).digest[:12]} of {shard}; bring the folder back"):
            folder.load(shard, state(shard, 9).digest)


def test_a_catch_up_of_many_slides_leaves_what_a_restart_needs_until_all_are_told_of_newer_ones(tmp_path: Path) -> None:
    folder, many = RecoveryFolder(tmp_path), range(2, KEPT_STATES * 2)
    for shard in BUCKET_KEYS:
        folder.keep(state(shard, 1))
    folder.settle()
    tell(folder, 1)
    for shard in BUCKET_KEYS:
        for slide in many:
            folder.keep(state(shard, slide))
    folder.settle()
    # The markers of one bucket after the other: until the last is told of, a restart goes on behind slide 1.
    for shard in BUCKET_KEYS[:-1]:
        tell(folder, many[-1], [shard])
    for shard in BUCKET_KEYS:
        folder.keep(state(shard, many[-1] + 1))
    folder.settle()
    for shard in BUCKET_KEYS:
        assert RecoveryFolder(tmp_path).load(shard, state(shard, 1).digest) == state(shard, 1).payload
    tell(folder, many[-1])
    keep(folder, state(BUCKET_KEYS[0], many[-1] + 2))
    with pytest.raises(UserError, match="has no state"):
        folder.load(BUCKET_KEYS[0], state(BUCKET_KEYS[0], 1).digest)


def test_a_process_whose_buckets_see_no_events_holds_back_no_other_for_ever(tmp_path: Path) -> None:
    folder, quiet = RecoveryFolder(tmp_path), RecoveryFolder(tmp_path)
    for slide in range(1, 6 * KEPT_STATES):
        keep(folder, state(BUCKET_KEYS[0], slide))
        tell(folder, slide, BUCKET_KEYS[:8])
        tell(quiet, slide, BUCKET_KEYS[8:])
        quiet.settle()
    assert len(files(tmp_path)) < 4 * KEPT_STATES


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    keep(RecoveryFolder(tmp_path), state("a", 1), state("b", 1))
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert RecoveryFolder(tmp_path).load("a", state("a", 1).digest) == state("a", 1).payload
    with pytest.raises(UserError, match="is not what it was written as"):
        RecoveryFolder(tmp_path).load("b", state("b", 1).digest)


def test_a_marker_counts_as_told_of_only_by_the_brokers_word(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Callable[[], None] | None] = []
    writer = SimpleNamespace(write=lambda record, on_written: written.append(on_written), flush=lambda: None)
    monkeypatch.setattr(sinks, "TopicWriter", lambda *args: writer)
    process = LiveProcess(0, None, FlowMetrics("live", "summarize"), Health())
    told: list[tuple[str, int]] = []
    settings = KafkaSettings(bootstrap="nowhere:1")
    sink = sinks.TopicSink(settings, "summaries", lambda item: item, process, note_told=lambda *one: told.append(one))
    marker = EndMarker("run", "user-00", 900_000, 1_800_000, 0, "", 0, 0, ShardProgress())
    items = [Chunk("run", "user-00", 900_000, 0, "events", b""), marker]
    sink.build("write_summaries", 0, 1).write_batch([("user-00", item) for item in items])
    assert process.failure is None and told == []
    chunk, end = written
    assert chunk is None and end is not None
    end()
    assert told == [("user-00", 1_800_000)]
