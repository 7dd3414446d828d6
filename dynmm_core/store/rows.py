"""Latent rows as columns and as files of the Delta table."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import Schema
from deltalake.transaction import AddAction

from dynmm_core.store.durable import sync, write_whole
from dynmm_core.store.version import LatentRows, Version, id_column

# Delta knows no list of fixed size; the width of the latents stands in the table's description.
_LATENT = pa.list_(pa.field("element", pa.float32()))
ARROW_SCHEMA = pa.schema([("version", pa.int64()), ("kind", pa.string()), ("id", pa.string()), ("latent", _LATENT)])
DELTA_SCHEMA = Schema.from_arrow(ARROW_SCHEMA)


def write_rows(table: Path, version: Version, rows: LatentRows) -> AddAction:
    """Write a version's sorted rows into the table's folder, durably, and return the action that would show them.

    The file is named by content: what a killed writer left behind is overwritten by its repetition, not doubled.
    """
    buffer = pa.BufferOutputStream()
    pq.write_table(
        to_arrow(version.number, rows), buffer, compression="zstd", compression_level=1,
        use_dictionary=["version", "kind"], write_statistics=["version", "kind", "id"],
    )  # fmt: skip
    content = buffer.getvalue().to_pybytes()
    name = f"{version.number:08}-{version.content_hash[:16]}.parquet"
    write_whole(table / name, content)
    sync(table)
    # Readers skip files by these bounds: a view at one version opens no later file.
    stats = {
        "numRecords": len(rows.ids), "minValues": {"version": version.number}, "maxValues": {"version": version.number},
        "nullCount": {"version": 0, "kind": 0, "id": 0},
    }  # fmt: skip
    return AddAction(name, len(content), {}, time.time_ns() // 1_000_000, True, json.dumps(stats))


def to_arrow(number: int, rows: LatentRows) -> pa.Table:
    """Return rows as a table of ``ARROW_SCHEMA``."""
    count, width = rows.latents.shape
    flat = pa.array(np.ascontiguousarray(rows.latents).reshape(-1))
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * width)
    columns = [
        pa.array(np.full(count, number, np.int64)),
        pa.array(rows.kinds.tolist(), pa.string()),
        pa.array(rows.ids.tolist(), pa.string()),
        pa.ListArray.from_arrays(offsets, flat, type=_LATENT),
    ]
    return pa.table(columns, schema=ARROW_SCHEMA)


def from_arrow(table: pa.Table, latent_dim: int) -> LatentRows:
    """Return the columns kind, id, latent as rows."""
    latents = table["latent"].combine_chunks().flatten().to_numpy().reshape(-1, latent_dim)
    kinds = np.array(table["kind"].to_pylist(), dtype=str)
    return LatentRows(kinds, id_column(table["id"].to_pylist()), latents.astype(np.float32))


def keys(rows: LatentRows) -> Iterator[tuple[str, str]]:
    """Yield (kind, id) of every row."""
    return zip(rows.kinds.tolist(), rows.ids.tolist(), strict=True)
