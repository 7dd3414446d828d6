"""The prepared log: the one form of a data set that pretraining, the dataflows and replay read."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dynmm_core.datasets.dataset_file import (
    DATASET_FILE,
    FACTS_KEY,
    DatasetFile,
    Granularity,
    first_online_row,
    read_dataset_file,
)
from dynmm_core.datasets.fingerprint import IDENTITY_COLUMNS, Fingerprint
from dynmm_core.errors import UserError

INTERACTIONS_FILE = "interactions.parquet"
ITEMS_FILE = "items.parquet"
ROW_GROUP_ROWS = 65_536
LOGICAL_COLUMNS = (*IDENTITY_COLUMNS, "rating", "event", "ingest_time_ms")


@dataclass(frozen=True)
class PreparedLog:
    """A prepared folder, opened: the interactions sorted by (event_time_ms, event_id), and `dataset.toml`."""

    path: Path
    name: str
    rows: int
    users: int
    items: int
    fingerprint: str
    granularity: Granularity
    first_event_time_ms: int
    last_event_time_ms: int
    has_event_ids: bool
    extra_columns: tuple[str, ...]
    columns: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> "PreparedLog":
        """Opens a prepared folder; UserError when it is none or `dataset.toml` and the table disagree."""
        described = read_dataset_file(path)
        try:
            file = pq.read_metadata(path / INTERACTIONS_FILE)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path / INTERACTIONS_FILE}: cannot be read; run dynmm data prepare again") from error
        _refuse_disagreement(path, described, file)
        present = file.schema.to_arrow_schema().names
        further = tuple(name for name in present if name not in LOGICAL_COLUMNS)
        for column in described.extra_columns:
            if column not in further:
                raise UserError(
                    f"{path / DATASET_FILE}: extra_columns = {column!r} is no further column of the table"
                    f" (it has: {', '.join(further) or 'none'}); take it out"
                )
        optional = tuple(name for name in LOGICAL_COLUMNS if name in present and name not in IDENTITY_COLUMNS)
        values = described.model_dump(exclude={"preparation"})
        return cls(path=path, columns=(*IDENTITY_COLUMNS, *optional, *described.extra_columns), **values)

    @property
    def interactions_path(self) -> Path:
        """The table of interactions."""
        return self.path / INTERACTIONS_FILE

    @property
    def items_path(self) -> Path | None:
        """The table of items, if the data set has one."""
        items = self.path / ITEMS_FILE
        return items if items.is_file() else None

    @property
    def cut_row(self) -> int:
        """The first online row: 70 % of the rows lie before it."""
        return first_online_row(self.rows)

    def read(self, columns: Sequence[str] | None = None, start_row: int = 0, end_row: int | None = None) -> pa.Table:
        """Rows `start_row` to `end_row` (exclusive, None = all) in log order; reads only their row groups.

        `columns` defaults to those of this log. ValueError when the range does not lie in the log.
        """
        wanted = list(self.columns if columns is None else columns)
        end = self.rows if end_row is None else end_row
        if not 0 <= start_row <= end <= self.rows:
            raise ValueError(f"rows {start_row}..{end} do not lie in 0..{self.rows}")
        with pq.ParquetFile(self.interactions_path) as file:
            first_row, groups = _groups_of(file.metadata, start_row, end)
            table = file.read_row_groups(groups, columns=wanted)
        return table.slice(start_row - first_row, end - start_row).select(wanted)

    def compute_fingerprint(self) -> str:
        """The fingerprint from the rows themselves; another than `fingerprint` if the table was changed."""
        return self._fingerprint(self.rows)

    def history_fingerprint(self) -> str:
        """The fingerprint of the rows before the cut: what pre-training sees; logs that differ behind it alone share it."""
        return self._fingerprint(self.cut_row)

    def _fingerprint(self, rows: int) -> str:
        """The fingerprint of the first rows."""
        fingerprint, left = Fingerprint(), rows
        with pq.ParquetFile(self.interactions_path) as file:
            batches: Iterable[pa.RecordBatch] = file.iter_batches(ROW_GROUP_ROWS, columns=list(IDENTITY_COLUMNS))
            for batch in batches:
                fingerprint.update(batch.slice(0, left))
                left -= min(left, len(batch))
                if not left:
                    break
        return fingerprint.hexdigest()


def _refuse_disagreement(path: Path, described: DatasetFile, file: pq.FileMetaData) -> None:
    facts = json.loads((file.metadata or {}).get(FACTS_KEY, b"{}"))
    for field, stated in described.facts().items():
        found = file.num_rows if field == "rows" else facts.get(field)
        if stated != found:
            raise UserError(
                f"{path / DATASET_FILE}: {field} = {stated} but the table has {found};"
                " restore that line, or run dynmm data prepare again"
            )


def _groups_of(metadata: pq.FileMetaData, start: int, end: int) -> tuple[int, list[int]]:
    """The row groups that hold rows start..end, and the row number at which the first of them begins."""
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    groups = [group for group in range(len(sizes)) if bounds[group] < end and bounds[group + 1] > start]
    return (int(bounds[groups[0]]) if groups else start), groups
