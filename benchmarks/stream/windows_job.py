"""Exactly the peers' work with our parts: decode, lateness by each partition's clock, 30-by-5-minute sliding counts per item."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.stream.peers.measuring import measure, read_job, tell
from benchmarks.stream.reading import line_blocks, load_batches, parquet_batches, topic_values
from benchmarks.stream.sliding import CELL_SCHEMA, SlidingWindows
from dynmm_core.events.letters import Origin
from dynmm_core.events.messages import decode_messages

_COLUMNS = ["event_time_ms", "item_id"]
_RUN_ROWS = 1 << 18  # counting costs per run and per item in it


Columns = tuple[np.ndarray, pa.Array]


def columns_of(job: dict[str, Any], batches: list[pa.RecordBatch]) -> Iterator[tuple[int, Columns]]:
    """(partition, (times, item ids)) of the job's source; ``batches`` where it is memory."""
    source = job["source"]
    if source == "json":
        for block in line_blocks(job["path"]):
            yield 0, _decode(block.splitlines())
    elif source == "kafka":
        for partition, values in topic_values(job["bootstrap"], job["topic"]):
            yield partition, _decode(values)
    else:
        for batch in batches if source == "memory" else parquet_batches(job["path"], _COLUMNS):
            yield 0, (batch["event_time_ms"].to_numpy(), batch["item_id"])


def gathered(columns: Iterable[tuple[int, Columns]]) -> Iterator[tuple[int, Columns]]:
    """The same events in longer runs of each partition."""
    waiting: dict[int, list[Columns]] = {}
    for partition, piece in columns:
        pieces = waiting.setdefault(partition, [])
        pieces.append(piece)
        if sum(len(times) for times, _ in pieces) >= _RUN_ROWS:
            yield partition, _joined(waiting.pop(partition))
    for partition, pieces in waiting.items():
        yield partition, _joined(pieces)


def count_windows(job: dict[str, Any], batches: list[pa.RecordBatch]) -> None:
    """The job's whole work: its cells lie in an Arrow file behind it."""
    with pa.ipc.new_file(job["cells"], CELL_SCHEMA) as cells:
        windows = SlidingWindows(job["partitions"], job["window_ms"], job["slide_ms"], job["lateness_ms"], cells.write_table)
        for partition, (times, items) in gathered(columns_of(job, batches)):
            windows.add(partition, times, items)
        windows.finish()


def main() -> None:
    """Run the job."""
    job = read_job()
    batches = load_batches(job["path"]) if job["source"] == "memory" else []
    tell(measure(lambda: count_windows(job, batches), job["events"]))


def _decode(messages: list[bytes]) -> Columns:
    events = decode_messages(messages, Origin("messages", 0, range(len(messages)))).events
    return events["event_time_ms"].to_numpy(), events["item_id"]


def _joined(pieces: list[Columns]) -> Columns:
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate([times for times, _ in pieces]), pa.concat_arrays([items for _, items in pieces])


if __name__ == "__main__":
    main()
