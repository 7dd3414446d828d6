"""The stream as it is deployed: validation, lateness, duplicates, counts, pairs and recovery; from Kafka the very dataflow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.stream.outcome import add_up, read_sent, read_topic, write_sent
from benchmarks.stream.peers.measuring import measure, read_job, tell
from benchmarks.stream.reading import line_blocks, load_batches, parquet_batches
from dynmm_core.events.arrow import decode_arrow
from dynmm_core.events.letters import Origin
from dynmm_core.windows.buckets import BUCKET_KEYS
from dynmm_core.windows.intake import Intake, Taken
from dynmm_core.windows.partition import PartitionReader
from dynmm_core.windows.progress import start_point
from dynmm_core.windows.shard import ShardWindow
from flows.items import ReadItem, route_buckets
from flows.kafka.clients import open_admin
from flows.kafka.settings import KafkaSettings
from flows.kafka.topics import make_topics, shapes
from flows.kafka.wire import record_of
from flows.live.config import LiveConfig, StreamSettings
from flows.live.recovery import RecoveryFolder
from flows.live.run import run_live
from flows.logics import SummarizeLogic
from flows.process import FlowProcess

_RUN = "bench"


SETTINGS = StreamSettings(run=_RUN, idle_after_ms=None, start="earliest")  # all else as it is deployed by default


class FileStream:
    """The dataflow's steps without the engine: buckets of one partition; summaries to a file, state to a folder."""

    def __init__(self, folder: Path) -> None:
        self._recovery, self._process = RecoveryFolder(folder / "recovery"), FlowProcess()
        self._buckets = {shard: SummarizeLogic(self._open, self._process, self._recovery.keep) for shard in BUCKET_KEYS}
        self._summaries = (folder / "summaries").open("wb")

    def take(self, taken: Taken) -> None:
        """Events to their buckets; the slides that close to the file."""
        routed = route_buckets(ReadItem(0, taken))
        messages = [message for shard, item in routed for message in self._buckets[shard].on_batch([item])[0]]
        if self._process.failure is not None:
            raise self._process.failure
        self._recovery.settle()
        for message in messages:
            write_sent(self._summaries, record_of(message, SETTINGS.slide_ms, 0))

    def close(self) -> None:
        """Every slide is sent."""
        self._summaries.close()

    def _open(self, bucket: int) -> ShardWindow:
        return ShardWindow(_RUN, BUCKET_KEYS[bucket], [0], SETTINGS.shards)


def stream_file(job: dict[str, Any], batches: list[pa.RecordBatch], folder: Path) -> None:
    """The job's whole work from memory or a file."""
    stream = FileStream(folder)
    source = job["source"]
    read = _read_lines(job) if source == "json" else _read_batches(job, batches if source == "memory" else None)
    for taken in read:
        stream.take(taken)
    stream.close()


def _read_lines(job: dict[str, Any]) -> Iterator[Taken]:
    reader = PartitionReader("lines", start_point(0, 0), SETTINGS.reading)
    for block in line_blocks(job["path"]):
        lines = block.splitlines()
        following = reader.next_offset + len(lines)
        yield from reader.read(lines, range(reader.next_offset, following), None, following)
    reader.end_at(reader.next_offset)
    yield from reader.read((), (), None, reader.next_offset)


def _read_batches(job: dict[str, Any], batches: list[pa.RecordBatch] | None) -> Iterator[Taken]:
    reading = SETTINGS.reading
    intake = Intake("rows", 0, reading.slide_ms, reading.allowed_lateness_ms, reading.max_skew_ms)
    first = 0
    for batch in parquet_batches(job["path"]) if batches is None else batches:
        following = first + batch.num_rows
        yield intake.take(decode_arrow(batch, Origin("rows", 0, range(first, following))), following)
        first = following
    yield intake.drain()


def main() -> None:
    """Run the job, and tell what it sent."""
    job = read_job()
    folder = Path(job["folder"])
    if job["source"] == "kafka":
        tell(_run_kafka(job, folder))
        return
    batches = load_batches(job["path"]) if job["source"] == "memory" else []
    result = measure(lambda: stream_file(job, batches, folder), job["events"])
    tell({**result, "outcome": add_up(read_sent(folder / "summaries"))})


def _run_kafka(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    outputs = {
        name: f"{name.replace('_', '-')}-{job['run']}" for name in ("summaries", "dead_letters", "late_events", "versions")
    }
    settings = KafkaSettings(bootstrap=job["bootstrap"], interactions=job["topic"], **outputs)
    make_topics(settings, shapes(settings, job["partitions"], -1, -1), 1)
    config = LiveConfig(
        kind="summarize", kafka=settings, stream=SETTINGS, recovery=folder / "recovery", drain=True
    )  # fmt: skip
    accounts = []
    result = measure(lambda: accounts.append(run_live(config).accounting), job["events"])
    if accounts[0].read != job["events"]:
        raise RuntimeError(f"kafka: {job['topic']} holds {accounts[0].read} events, not {job['events']}")
    outcome = add_up(read_topic(settings))
    admin = open_admin(settings)  # kept: its end would be the end of the answers
    for deleted in admin.delete_topics(list(outputs.values())).values():
        deleted.result()
    return {**result, "outcome": outcome}


if __name__ == "__main__":
    main()
