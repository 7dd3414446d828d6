"""One load through the summarize job without engine and broker: CPU seconds and peak memory. A process of its own."""

import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.stream.outcome import write_sent
from benchmarks.stream.peers.measuring import measure, read_job, tell
from dynmm_core.events.arrow import decode_arrow
from dynmm_core.events.letters import Origin
from dynmm_core.windows.buckets import BUCKET_KEYS
from dynmm_core.windows.intake import Intake, Taken
from dynmm_core.windows.messages import Chunk
from dynmm_core.windows.partition import PartitionReader
from dynmm_core.windows.progress import start_point
from dynmm_core.windows.shard import ShardWindow
from flows.items import ReadItem, route_buckets
from flows.kafka.wire import record_of
from flows.live.config import StreamSettings
from flows.live.recovery import RecoveryFolder
from flows.logics import SummarizeLogic
from flows.process import FlowProcess

_RUN = "capacity"
_WARMING_ROWS = 2_000


class Stream:
    """The steps behind reading: all buckets of one process; summaries to a file, state to a folder; CPU by what it is for."""

    def __init__(self, settings: StreamSettings, folder: Path, exchanged: bool) -> None:
        folder.mkdir()
        self._settings, self._exchanged = settings, exchanged
        self._process, self._recovery = FlowProcess(), RecoveryFolder(folder)
        self._buckets = {key: SummarizeLogic(self._open, self._process, self._recovery.keep) for key in BUCKET_KEYS}
        self._summaries = (folder / "summaries").open("wb")
        self.close_seconds = self.exchange_seconds = 0.0
        self.slides = 0

    def take(self, taken: Taken) -> None:
        """Events to their buckets; the messages of all buckets wait for each other, as they do in the engine."""
        begun = time.process_time()
        messages = [
            message for key, item in route_buckets(ReadItem(0, taken)) for message in self._buckets[key].on_batch([item])[0]
        ]
        if self._process.failure is not None:
            raise self._process.failure
        self._recovery.settle()
        for message in messages:
            write_sent(self._summaries, record_of(message, self._settings.slide_ms, 0))
        closed = {message.slide_end_ms for message in messages if isinstance(message, Chunk)}
        self.slides += len(closed)
        if closed:
            self.close_seconds += time.process_time() - begun
        if self._exchanged:
            self._exchange(taken)

    def _exchange(self, taken: Taken) -> None:
        """What it costs to send the events to another process, and to read them there."""
        begun = time.process_time()
        for _, item in route_buckets(ReadItem(0, taken)):
            pickle.loads(pickle.dumps(item, pickle.HIGHEST_PROTOCOL))
        self.exchange_seconds += time.process_time() - begun

    def close(self) -> None:
        """Every slide is sent."""
        self._summaries.close()

    def _open(self, bucket: int) -> ShardWindow:
        return ShardWindow(_RUN, BUCKET_KEYS[bucket], [0], self._settings.shards)


def run_load(job: dict[str, Any]) -> dict[str, Any]:
    """The job's load, after a short one that loads what is loaded once; an exchange is timed beside and left out."""
    settings = StreamSettings(slide_ms=job["slide_ms"], allowed_lateness_ms=job["lateness_ms"])
    read = _read_lines if job["form"] == "json" else _read_batches
    folder = Path(job["folder"])
    _feed(Stream(settings, folder / "warming", job["exchanged"]), read(job, settings, _WARMING_ROWS))
    stream = Stream(settings, folder / "measured", job["exchanged"])
    base_mb = _held_mb()
    result = measure(lambda: _feed(stream, read(job, settings, None)), job["events"])
    return {
        "cpu_seconds": result["cpu_seconds"] - stream.exchange_seconds, "close_seconds": stream.close_seconds,
        "exchange_seconds": stream.exchange_seconds, "slides": stream.slides,
        "peak_bytes": result["peak_rss_mb"] * (1 << 20), "base_bytes": base_mb * (1 << 20),
    }  # fmt: skip


def _feed(stream: Stream, read: Iterator[Taken]) -> None:
    for taken in read:
        stream.take(taken)
    stream.close()


def _read_lines(job: dict[str, Any], settings: StreamSettings, most: int | None) -> Iterator[Taken]:
    reader = PartitionReader("lines", start_point(0, 0), settings.reading)
    size = job["batch_rows"] * os.path.getsize(job["path"]) // job["events"]
    with open(job["path"], "rb") as file:
        while (most is None or reader.next_offset < most) and (block := file.read(size)):
            lines = (block + file.readline()).splitlines()
            following = reader.next_offset + len(lines)
            yield from reader.read(lines, range(reader.next_offset, following), None, following)
    reader.end_at(reader.next_offset)
    yield from reader.read((), (), None, reader.next_offset)


def _read_batches(job: dict[str, Any], settings: StreamSettings, most: int | None) -> Iterator[Taken]:
    reading = settings.reading
    intake = Intake("rows", 0, reading.slide_ms, reading.allowed_lateness_ms, reading.max_skew_ms)
    first = 0
    with pa.OSFile(job["path"]) as file, pa.ipc.open_file(file) as reader:
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            following = first + batch.num_rows
            yield intake.take(decode_arrow(batch, Origin("rows", 0, range(first, following))), following)
            first = following
            if most is not None and first >= most:
                break
    yield intake.drain()


def _held_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
    return next((int(line.split()[1]) / 1_024 for line in lines if line.startswith("VmRSS:")), 0.0)


def main() -> None:
    """Run the job, and tell what it took."""
    tell(run_load(read_job()))


if __name__ == "__main__":
    main()
