"""A stream on disk: the table of interactions, the truth beside it, features of the items, and the faulty log if there is one."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dynmm_core.datasets.fingerprint import Fingerprint
from dynmm_core.errors import UserError
from simulators.faulty_log import FaultyLog
from simulators.names import named, names_of
from simulators.placement import Outcome
from simulators.stream import Stream
from simulators.truth_file import TruthFile, write_truth

# Nothing that a dictionary would shorten: unique ids, and times.
_PLAIN = ("event_id", "timestamp", "ingest_time")
_RAW_NAMES = {"event_time_ms": "timestamp", "ingest_time_ms": "ingest_time"}


def write_made(
    out: Path, table: pa.Table, truth: TruthFile, faulty: FaultyLog | None = None, topic: str = "interactions",
    features: pa.Table | None = None,
) -> None:  # fmt: skip
    """Write ``interactions.parquet`` and ``truth.json`` to ``out``, which appears when all is whole; features where given.

    With a faulty log, the folder ``faulty`` holds ``messages.parquet`` (each partition's messages in order, with what becomes
    of them), ``used.parquet`` (the events of all slides, if it is read as ``topic``) and ``expected.json``.

    Raises:
        UserError: ``out`` exists.
    """
    with new_folder(out) as scratch:
        _write_interactions(scratch, table)
        write_truth(scratch, truth)
        if features is not None:
            pq.write_table(features, scratch / "features.parquet", compression="zstd")
        if faulty is not None:
            _write_faulty(scratch / "faulty", faulty, topic)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A scratch folder that becomes ``out`` when the block has ended well.

    Raises:
        UserError: ``out`` exists.
    """
    refuse_existing(out)
    scratch = out.with_name(out.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    yield scratch
    scratch.rename(out)


def refuse_existing(out: Path) -> None:
    """Refuse to write over anything."""
    if out.exists():
        raise UserError(f"--out: {out} exists; name a folder that does not, or remove it first")


def as_table(stream: Stream) -> pa.Table:
    """The stream as a table of interactions in time order."""
    users, items = (int(numbers.max()) + 1 for numbers in (stream.user, stream.item))
    return pa.table({
        "event_id": names_of("e", np.arange(len(stream.user))),
        "user_id": named("u", stream.user, users),
        "item_id": named("i", stream.item, items),
        "event_time_ms": pa.array(stream.event_time_ms, pa.int64()),
        "ingest_time_ms": pa.array(stream.ingest_time_ms, pa.int64()),
    })  # fmt: skip


def fingerprint_of(table: pa.Table) -> str:
    """The fingerprint that `dynmm data prepare` will find for events in canonical order."""
    fingerprint = Fingerprint()
    for batch in table.combine_chunks().to_batches():
        fingerprint.update(batch)
    return fingerprint.hexdigest()


def _write_interactions(folder: Path, table: pa.Table) -> None:
    """Write ``interactions.parquet`` for `dynmm data prepare`."""
    table = table.rename_columns([_RAW_NAMES.get(name, name) for name in table.column_names])
    dictionary = [name for name in table.column_names if name not in _PLAIN]
    pq.write_table(table, folder / "interactions.parquet", compression="zstd", use_dictionary=dictionary)


def _write_faulty(folder: Path, log: FaultyLog, topic: str) -> None:
    folder.mkdir()
    sizes = [len(messages) for messages in log.messages]
    names = np.array([outcome.name.lower() for outcome in Outcome])
    table = pa.table({
        "partition": pa.array(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)),
        "offset": pa.array(np.concatenate([np.arange(size) for size in sizes])),
        "timestamp_ms": pa.array([message.timestamp_ms for messages in log.messages for message in messages], pa.int64()),
        "value": pa.array([message.value for messages in log.messages for message in messages], pa.large_binary()),
        "outcome": pa.array(names[np.concatenate(log.outcomes)]),
    })  # fmt: skip
    pq.write_table(table, folder / "messages.parquet", compression="zstd")
    pq.write_table(log.used(topic), folder / "used.parquet", compression="zstd")
    (folder / "expected.json").write_text(json.dumps(asdict(log.expected), indent=2) + "\n")
