"""From a user's folder to a prepared log: check, sort, write beside the target, rename."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dynmm_core.datasets.checked import Description, Options, checked_folder
from dynmm_core.datasets.dataset_file import DATASET_FILE, FACTS_KEY, DatasetFile, Preparation
from dynmm_core.datasets.fingerprint import IDENTITY_COLUMNS, Fingerprint
from dynmm_core.datasets.folders import nearest_parent, new_folder, refuse_existing
from dynmm_core.datasets.log_view import Drops, LogView
from dynmm_core.datasets.prepared import INTERACTIONS_FILE, ITEMS_FILE, ROW_GROUP_ROWS
from dynmm_core.datasets.tables import quoted


def prepare_folder(folder: Path, out: Path, options: Options) -> tuple[Description, DatasetFile]:
    """Checks a folder and writes it as a prepared log to the new folder `out`, whole or not at all."""
    refuse_existing(out)
    with (
        checked_folder(folder, options, nearest_parent(out)) as (log, description),
        new_folder(out) as building,
    ):
        dataset = _write_log(log, description, options, building / INTERACTIONS_FILE)
        if description.item_table is not None:
            _write_items(log.connection, building / ITEMS_FILE)
        (building / DATASET_FILE).write_text(dataset.to_toml(), encoding="utf-8")
    return description, dataset


def _write_log(log: LogView, description: Description, options: Options, path: Path) -> DatasetFile:
    """Writes the view `log` sorted, in whole row groups; returns the description of what was written."""
    listed = ", ".join(quoted(name) for name in (*IDENTITY_COLUMNS, *log.optional, *log.extra))
    query = f"SELECT {listed} FROM log ORDER BY event_time_ms, event_id, user_id, item_id"
    reader = log.connection.sql(query).to_arrow_reader(ROW_GROUP_ROWS)
    fingerprint = Fingerprint()
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for group in _whole_groups(reader):
            for batch in group.to_batches():
                fingerprint.update(batch)
            writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
        dataset = _dataset_file(description, log.drops, options, fingerprint.hexdigest())
        writer.add_key_value_metadata({FACTS_KEY.decode(): json.dumps(dataset.facts())})
    return dataset


def _whole_groups(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The rows of the batches again, in tables of ROW_GROUP_ROWS rows; only the last is shorter."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        table = pa.Table.from_batches(waiting)
        while table.num_rows >= ROW_GROUP_ROWS:
            yield table.slice(0, ROW_GROUP_ROWS)
            table = table.slice(ROW_GROUP_ROWS)
        waiting = table.to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting)


def _write_items(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    reader = connection.sql("SELECT * FROM items").to_arrow_reader(ROW_GROUP_ROWS)
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)


def _dataset_file(description: Description, drops: Drops, options: Options, fingerprint: str) -> DatasetFile:
    figures = description.figures
    return DatasetFile(
        name=description.name,
        rows=figures.rows,
        users=figures.users,
        items=figures.items,
        first_event_time_ms=figures.first_event_time_ms,
        last_event_time_ms=figures.last_event_time_ms,
        granularity=figures.granularity,
        fingerprint=fingerprint,
        has_event_ids=description.has_event_ids,
        extra_columns=description.extra_columns,
        preparation=Preparation(**asdict(drops), min_rating=options.min_rating, time_unit=options.time_unit),
    )
