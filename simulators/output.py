"""A stream on disk: the table of interactions, and the truth beside it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dynmm_core.errors import UserError
from simulators.stream import HOUR_MS, Stream, cut_time_ms, draw_stream
from simulators.world import StreamSettings, World, make_world

TRUTH_SCHEMA_VERSION = 1


def write_stream(out: Path, settings: StreamSettings) -> tuple[World, Stream]:
    """Draw a stream and write ``interactions.parquet`` and ``truth.json`` to ``out``, which appears when both are whole.

    Raises:
        UserError: ``out`` exists.
    """
    if out.exists():
        raise UserError(f"--out: {out} exists; name a folder that does not, or remove it first")
    world = make_world(settings)
    stream = draw_stream(world)
    scratch = out.with_name(out.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    pq.write_table(_table(stream), scratch / "interactions.parquet", compression="zstd")
    (scratch / "truth.json").write_text(json.dumps(_truth(world), indent=2) + "\n")
    scratch.rename(out)
    return world, stream


def _table(stream: Stream) -> pa.Table:
    return pa.table({
        "event_id": pa.array(_names("e", np.arange(len(stream.user)))),
        "user_id": pa.array(_names("u", stream.user)),
        "item_id": pa.array(_names("i", stream.item)),
        "timestamp": pa.array(stream.event_time_ms, pa.int64()),
    })  # fmt: skip


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
