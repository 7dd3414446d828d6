"""Where a dataflow's results go: letters into JSON lines, tallies and reports into this process's account of the run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from bytewax.outputs import DynamicSink, FixedPartitionedSink, StatefulSinkPartition, StatelessSinkPartition

from dynmm_core.events.letters import BadEvent
from dynmm_core.windows.intake import LateEvent
from flows.process import FlowProcess


class _JsonLinesPart(StatefulSinkPartition[Any, None]):
    def __init__(self, path: Path, to_json: Callable[[Any], dict[str, Any]], process: FlowProcess) -> None:
        self._path, self._to_json = path, to_json
        self._file: BinaryIO | None = None
        self._write = process.guarded(self._append)

    def write_batch(self, values: list[Any]) -> None:
        self._write(values)

    def snapshot(self) -> None:
        """None: a resumed run reads the log again and writes the file anew."""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _append(self, values: list[Any]) -> list[None]:
        if self._file is None:
            self._file = self._path.open("wb")
        lines = [orjson.dumps(self._to_json(value), option=orjson.OPT_APPEND_NEWLINE) for value in values]
        self._file.write(b"".join(lines))
        self._file.flush()
        return []


class JsonLinesSink(FixedPartitionedSink[Any, None]):
    """One file of JSON lines, written by one worker whoever the items come from; begun anew by every run."""

    def __init__(self, path: Path, to_json: Callable[[Any], dict[str, Any]], process: FlowProcess) -> None:
        self._path, self._to_json, self._process = path, to_json, process

    def list_parts(self) -> list[str]:
        """The file is the only part."""
        return [self._path.name]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _JsonLinesPart:
        """The file, created with the first line."""
        return _JsonLinesPart(self._path, self._to_json, self._process)


class _CollectPart(StatelessSinkPartition[Any]):
    def __init__(self, take: Callable[[Any], None], process: FlowProcess) -> None:
        self._take = take
        self._take_all = process.guarded(self._each)

    def write_batch(self, items: list[Any]) -> None:
        self._take_all(items)

    def _each(self, items: list[Any]) -> list[None]:
        for item in items:
            self._take(item)
        return []


class CollectSink(DynamicSink[Any]):
    """Every worker hands its items to a function of its own process; the processes' accounts are added up afterwards."""

    def __init__(self, take: Callable[[Any], None], process: FlowProcess) -> None:
        self._take, self._process = take, process

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _CollectPart:
        """The part of one worker."""
        return _CollectPart(self._take, self._process)


def letter_as_json(letter: BadEvent) -> dict[str, Any]:
    """A dead letter as one JSON object; bytes that are no UTF-8 are escaped."""
    return {
        "reason": letter.reason,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "raw": letter.raw.decode("utf-8", "backslashreplace"),
    }


def late_as_json(late: LateEvent) -> dict[str, Any]:
    """A late event as one JSON object."""
    return {
        "late_by_ms": late.late_by_ms,
        "topic": late.topic,
        "partition": late.partition,
        "offset": late.offset,
        "event": orjson.loads(late.event),
    }
