"""Where events are read: a prepared log, cut into partitions by user, each with its own clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.events.arrow import decode_arrow
from dynmm_core.events.letters import Decoded, Origin
from dynmm_core.windows.hashes import EventHashes
from dynmm_core.windows.intake import Intake
from flows.config import FlowConfig
from flows.items import ReadItem
from flows.process import FlowProcess

_CALL_ROWS = 1_024  # small batches go out several at a time: the engine's cost is per call
_CALL_WINDOWS = 32


@dataclass(frozen=True)
class _Rows:
    """One partition's share of a stretch of the file: its rows' numbers in the file (n,), decoded, with their hashes."""

    numbers: np.ndarray
    decoded: Decoded
    hashes: EventHashes


class _LogReader:
    """Row groups of the log from the first row wanted to the last, cut into partitions; the newest are kept for the others."""

    def __init__(self, config: FlowConfig) -> None:
        self._config = config
        self.log = PreparedLog.open(config.data)
        self.start, self.end = rows_to_read(self.log, config)
        with pq.ParquetFile(self.log.interactions_path) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(int).tolist()
        stretches = pairwise(bounds)
        self.stretches = [
            (max(first, self.start), min(last, self.end)) for first, last in stretches if first < self.end and last > self.start
        ]
        self.rows = lru_cache(maxsize=2)(self._read)

    def _read(self, stretch: int) -> list[_Rows]:
        first, last = self.stretches[stretch]
        table = self.log.read(self._config.columns, first, last).combine_chunks()
        decoded = decode_arrow(table.to_batches()[0], Origin(self.log.name, 0, range(first, last)))
        hashes = EventHashes.of(decoded.events)
        if self._config.partitions == 1:
            return [_Rows(decoded.offsets, decoded, hashes)]
        partitions = hashes.user % np.uint64(self._config.partitions)
        return [self._share(decoded, hashes, np.flatnonzero(partitions == part), part) for part in range(self._config.partitions)]

    def _share(self, decoded: Decoded, hashes: EventHashes, rows: np.ndarray, part: int) -> _Rows:
        numbers = decoded.offsets[rows]
        # A letter has no user; the first partition takes them all.
        bad = decoded.bad if part == 0 else ()
        return _Rows(numbers, Decoded(decoded.events.take(pa.array(rows)), numbers, bad), hashes[rows])


class LogPartition(StatefulSourcePartition[ReadItem, None]):
    """One partition of the log. All partitions go through the file's rows at one pace, so that none runs ahead.

    Its last item before the end drains it: nothing can be emitted at the end itself.
    """

    def __init__(self, config: FlowConfig, partition: int, reader: "_SharedReader", process: FlowProcess) -> None:
        self._config, self._partition, self._process = config, partition, process
        self._reader = reader
        self._windows: Iterator[list[ReadItem]] | None = None
        self._per_call = max(1, min(_CALL_WINDOWS, _CALL_ROWS // config.batch_size))

    def next_batch(self) -> list[ReadItem]:
        """The next items; the engine is stopped here once any step has failed."""
        if self._process.failure is not None:
            raise AbortExecution()
        try:
            if self._windows is None:
                self._windows = self._read()
            windows = list(islice(self._windows, self._per_call))
        except BaseException as error:  # noqa: BLE001 - see FlowProcess
            self._process.fail(error)
            raise AbortExecution() from None
        if not windows:
            raise StopIteration()
        return [item for window in windows for item in window]

    def snapshot(self) -> None:
        """None: this flow keeps no recovery state; a resumed run reads the log again from its start row."""

    def _read(self) -> Iterator[list[ReadItem]]:
        reader = self._reader.open()
        intake = Intake(
            reader.log.name, self._partition, self._config.slide_ms,
            self._config.allowed_lateness_ms, self._config.max_skew_ms,
        )  # fmt: skip
        self._process.ledger.add_reader(self._partition, intake)
        for stretch, (first, last) in enumerate(reader.stretches):
            rows = reader.rows(stretch)[self._partition]
            for pieces in _windows(rows.numbers, first, last, self._config):
                yield [self._take(intake, rows, start, end) for start, end in pieces]
            if rows.decoded.bad:
                nothing = Decoded(rows.decoded.events.slice(0, 0), rows.decoded.offsets[:0], rows.decoded.bad)
                yield [ReadItem(self._partition, intake.take(nothing))]
        yield [ReadItem(self._partition, intake.drain())]

    def _take(self, intake: Intake, rows: _Rows, start: int, end: int) -> ReadItem:
        events = rows.decoded.events.slice(start, end - start)
        decoded = Decoded(events, rows.decoded.offsets[start:end], ())
        return ReadItem(self._partition, intake.take(decoded, hashes=rows.hashes[start:end]))


class _SharedReader:
    """Opens the log when the first partition of this process is read: errors then go the way of every step's."""

    def __init__(self, config: FlowConfig) -> None:
        self._config = config
        self._reader: _LogReader | None = None

    def open(self) -> _LogReader:
        if self._reader is None:
            self._reader = _LogReader(self._config)
        return self._reader


class ParquetLogSource(FixedPartitionedSource[ReadItem, None]):
    """A prepared log as partitions by hash of the user, all of them read in the first process.

    Readers in several processes would drift apart without bound while one of them is busy with a slide, and the buckets
    would have to hold the difference; reading is a tenth of the work.
    """

    def __init__(self, config: FlowConfig, process: FlowProcess) -> None:
        self._config, self._process = config, process
        self._reader = _SharedReader(config)

    def list_parts(self) -> list[str]:
        """One name per partition in the first process, none in any other."""
        partitions = self._config.partitions if self._process.number == 0 else 0
        return [f"part-{partition:03}" for partition in range(partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> LogPartition:
        """The partition of that name, from its start."""
        return LogPartition(self._config, int(for_part.removeprefix("part-")), self._reader, self._process)


def rows_to_read(log: PreparedLog, config: FlowConfig) -> tuple[int, int]:
    """First and last row (exclusive) of a run: rows from ``start_row`` on whose time is before ``end_time_ms``."""
    start = min(config.start_row, log.rows)
    if config.end_time_ms is None:
        return start, log.rows
    with pq.ParquetFile(log.interactions_path) as file:
        end = 0
        for group in range(file.metadata.num_row_groups):
            times = file.read_row_group(group, columns=["event_time_ms"])["event_time_ms"].to_numpy()
            before = int(np.searchsorted(times, config.end_time_ms))
            end += before
            if before < len(times):
                break
    return start, max(start, end)


def _windows(numbers: np.ndarray, first: int, last: int, config: FlowConfig) -> Iterator[list[tuple[int, int]]]:
    """For each of the file's windows of ``batch_size`` x ``partitions`` rows, the bounds of this partition's items in it.

    A window is read in one go even where this partition has none or many of its rows: partitions then keep in step.
    """
    marks = np.searchsorted(numbers, np.arange(first, last, config.batch_size * config.partitions)).tolist()
    for start, end in pairwise([*marks, len(numbers)]):
        yield [(piece, min(piece + config.batch_size, end)) for piece in range(start, end, config.batch_size)]
