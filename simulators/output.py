"""A stream on disk: the table of interactions, the truth beside it, and the faulty log if there is one."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dynmm_core.errors import UserError
from simulators.faulty_log import FaultyLog
from simulators.placement import Outcome
from simulators.stream import HOUR_MS, Stream, cut_time_ms, draw_stream
from simulators.world import StreamSettings, World, make_world

TRUTH_SCHEMA_VERSION = 1


def write_stream(out: Path, settings: StreamSettings) -> tuple[World, Stream]:
    """Draw a stream and write it to ``out``; see :func:`write_files`."""
    refuse_existing(out)
    world = make_world(settings)
    stream = draw_stream(world)
    write_files(out, world, stream)
    return world, stream


def write_files(out: Path, world: World, stream: Stream, faulty: FaultyLog | None = None, topic: str = "interactions") -> None:
    """Write ``interactions.parquet`` and ``truth.json`` to ``out``, which appears when all is whole.

    With a faulty log, the folder ``faulty`` holds ``messages.parquet`` (each partition's messages in order, with what becomes
    of them), ``used.parquet`` (the events of all slides, if it is read as ``topic``) and ``expected.json``.

    Raises:
        UserError: ``out`` exists.
    """
    refuse_existing(out)
    scratch = out.with_name(out.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    table = as_table(stream)
    table = table.rename_columns(["timestamp" if name == "event_time_ms" else name for name in table.column_names])
    pq.write_table(table, scratch / "interactions.parquet", compression="zstd")
    (scratch / "truth.json").write_text(json.dumps(_truth(world), indent=2) + "\n")
    if faulty is not None:
        _write_faulty(scratch / "faulty", faulty, topic)
    scratch.rename(out)


def refuse_existing(out: Path) -> None:
    """Refuse to write over anything."""
    if out.exists():
        raise UserError(f"--out: {out} exists; name a folder that does not, or remove it first")


def as_table(stream: Stream) -> pa.Table:
    """The stream as a table of interactions in time order."""
    return pa.table({
        "event_id": pa.array(_names("e", np.arange(len(stream.user)))),
        "user_id": pa.array(_names("u", stream.user)),
        "item_id": pa.array(_names("i", stream.item)),
        "event_time_ms": pa.array(stream.event_time_ms, pa.int64()),
    })  # fmt: skip


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


def _names(prefix: str, numbers: np.ndarray) -> np.ndarray:
    return np.char.add(prefix, np.char.zfill(numbers.astype(str), 8))


def _truth(world: World) -> dict[str, object]:
    drifts = [
        {
            "id": number,
            "kind": drift.kind,
            "start_ms": cut_time_ms() + drift.online_hour * HOUR_MS,
            "items": _names("i", drift.items).tolist(),
        }
        for number, drift in enumerate(world.drifts)
    ]
    settings = world.settings.model_dump()
    return {"schema_version": TRUTH_SCHEMA_VERSION, "settings": settings, "cut_ms": cut_time_ms(), "drifts": drifts}
