"""The latent store: one append-only Delta table, one commit per slide."""

import bisect
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from dynmm_core.errors import UserError
from dynmm_core.store.version import ConflictingVersion, Draft, LatentRows, StaleParent, Version

_METADATA_KEY = "dynmm"
_COMMITS_PER_HANDLE = 100
_CONFIGURATION = {
    # Without these two, time travel would end silently after 30 days.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
}


@dataclass(frozen=True)
class LatentTable:
    """All latents as they stand at one version, by (kind, id)."""

    version: Version
    rows: LatentRows


@dataclass(frozen=True)
class Difference:
    """What changed between two kept versions: ids new in the later one, and the norm of each common id's change."""

    added: list[tuple[str, str]]
    changed: list[tuple[str, str, float]]


class LatentStore:
    """Versions of item and user latents at ``path``; a version is one atomic commit and never changes.

    A commit names the version it was made against and is refused if that is no longer the head: two writers cannot
    both win. Killing a writer at any moment leaves either the whole version or none of it.
    """

    def __init__(self, path: Path, table: DeltaTable) -> None:
        self.path = path
        self._table = table
        self._commits = 0

    @classmethod
    def create_or_open(cls, path: Path, latent_dim: int) -> "LatentStore":
        """Open the store at ``path``, or make an empty one for latents of ``latent_dim`` floats.

        Raises:
            UserError: the store holds latents of another width.
        """
        uri = str(path / "latents")
        if not DeltaTable.is_deltatable(uri):
            path.mkdir(parents=True, exist_ok=True)
            # The row type is a plain list: Delta knows no fixed size, so the width stands in the table's description.
            description = json.dumps({"latent_dim": latent_dim})
            DeltaTable.create(uri, _schema(), description=description, configuration=_CONFIGURATION)
        store = cls.open(path)
        if store.latent_dim != latent_dim:
            raise UserError(
                f"latent_dim: {path} holds latents of {store.latent_dim} floats, not {latent_dim}; name another store"
            )
        return store

    @classmethod
    def open(cls, path: Path) -> "LatentStore":
        """Open an existing store.

        Raises:
            UserError: there is none at ``path``.
        """
        uri = str(path / "latents")
        if not DeltaTable.is_deltatable(uri):
            raise UserError(f"store: {path} holds no latent store; name a run folder or its store folder")
        return cls(path, DeltaTable(uri))

    @property
    def latent_dim(self) -> int:
        """Width of every latent."""
        return int(json.loads(self._table.metadata().description)["latent_dim"])

    def head(self) -> Version | None:
        """Return the newest version, or None in an empty store."""
        self._table.update_incremental()
        return next(self._versions(limit=1), None)

    def log(self) -> list[Version]:
        """Return every version, oldest first."""
        self._table.update_incremental()
        return list(self._versions(limit=None))[::-1]

    def get(self, number: int) -> Version:
        """Return version ``number``.

        Raises:
            UserError: there is no such version.
        """
        versions = self.log()
        if not 0 <= number < len(versions):
            raise UserError(f"version: {number} is not in {self.path}, which holds {len(versions)} versions from 0")
        return versions[number]

    def commit(self, draft: Draft, parent: Version | None) -> Version:
        """Commit one slide's version against ``parent`` and return it.

        1. A slide committed before with equal content is returned as it is; with other content it is a conflict.
        2. The parent must be the head, before and at the moment of the commit; nothing is retried blindly.
        3. Rows and metadata become visible in one step; then their files are synced to disk.

        Raises:
            ConflictingVersion: the slide was committed before with other content.
            StaleParent: the head is not ``parent`` any more.
        """
        head = self.head()
        if head is not None and head.run == draft.run and draft.slide_end_ms <= head.slide_end_ms:
            return self._repeated(draft)
        if (head and head.content_hash) != (parent and parent.content_hash):
            raise StaleParent(f"parent: the head of {self.path} is {head and head.number}, not {parent and parent.number}")
        version = _version_of(draft, parent)
        properties = CommitProperties(
            custom_metadata={_METADATA_KEY: version.to_json()},
            max_commit_retries=0,
            app_transactions=[Transaction(draft.run, version.number)],
        )
        try:
            if version.rows_kept:
                write_deltalake(self._table, _to_arrow(version.number, draft.rows), mode="append", commit_properties=properties)
            else:
                self._table.create_write_transaction([], "append", _schema(), [], commit_properties=properties)
        except CommitFailedError as error:
            raise StaleParent(f"parent: another writer committed to {self.path} at the same time") from error
        self._after_commit()
        return version

    def at(self, number: int) -> LatentTable:
        """Return all latents as version ``number`` left them.

        Raises:
            UserError: no such version, or its rows were hashed but not kept.
        """
        versions = self.log()
        version = self.get(number)
        kept = [v.number for v in versions if v.rows_kept]
        if not version.rows_kept:
            place = bisect.bisect_left(kept, number)
            near = kept[max(0, place - 1) : place + 1]
            raise UserError(f"version: the rows of {number} were not kept (--store-every); kept nearby: {near or 'none'}")
        newest = self.sql(
            "SELECT kind, id, arg_max(latent, version) AS latent FROM latents"
            f" WHERE version <= {number:d} GROUP BY ALL ORDER BY kind, id"
        )
        return LatentTable(version, _from_arrow(newest, self.latent_dim))

    def as_of(self, event_time_ms: int) -> Version:
        """Return the newest version whose slide ended at or before ``event_time_ms``.

        Raises:
            UserError: no version is that old.
        """
        versions = [version for version in self.log() if version.slide_end_ms <= event_time_ms]
        if not versions:
            raise UserError(f"event_time_ms: {self.path} has no version at {event_time_ms} or before")
        return max(versions, key=lambda version: version.slide_end_ms)

    def diff(self, earlier: int, later: int) -> Difference:
        """Compare two kept versions."""
        before, after = self.at(earlier).rows, self.at(later).rows
        old = dict(zip(_keys(before), before.latents, strict=True))
        added, changed = [], []
        for key, latent in zip(_keys(after), after.latents, strict=True):
            if key not in old:
                added.append(key)
            elif not np.array_equal(old[key], latent):
                changed.append((*key, float(np.linalg.norm(latent - old[key]))))
        return Difference(added, changed)

    def sql(self, query: str) -> pa.Table:
        """Run DuckDB SQL over two views: ``latents`` (version, kind, id, latent) and ``versions``.

        Raises:
            UserError: DuckDB refuses the query.
        """
        connection = duckdb.connect()
        connection.register("latents", self._table.to_pyarrow_dataset())
        connection.register("versions", pa.Table.from_pylist([_flat(version) for version in self.log()], _VERSIONS_SCHEMA))
        try:
            return connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise UserError(f"query: {str(error).splitlines()[0]}; the views are latents and versions") from error
        finally:
            connection.close()

    def _versions(self, limit: int | None) -> Iterator[Version]:
        for entry in self._table.history(limit):
            if _METADATA_KEY in entry:
                yield Version.from_json(entry[_METADATA_KEY])

    def _repeated(self, draft: Draft) -> Version:
        found = next((v for v in self.log() if v.run == draft.run and v.slide_end_ms == draft.slide_end_ms), None)
        if found is None or draft.content_hash(found.parent_hash) != found.content_hash:
            what = "lies behind the head" if found is None else f"is version {found.number} with other content"
            raise ConflictingVersion(f"slide_end_ms: {draft.slide_end_ms} of run {draft.run} {what}; use a run of another name")
        return found

    def _after_commit(self) -> None:
        self._commits += 1
        if self._commits % _COMMITS_PER_HANDLE == 0:
            # A handle slows down with every commit made through it.
            self._table = DeltaTable(str(self.path / "latents"))
        log = self.path / "latents" / "_delta_log"
        entry = log / f"{self._table.version():020}.json"
        actions = [json.loads(line) for line in entry.read_text().splitlines()]
        added = [self.path / "latents" / action["add"]["path"] for action in actions if "add" in action]
        for file in (*added, entry, log):
            _sync(file)


def _version_of(draft: Draft, parent: Version | None) -> Version:
    parent_hash = None if parent is None else parent.content_hash
    return Version(
        number=0 if parent is None else parent.number + 1, run=draft.run, slide_end_ms=draft.slide_end_ms,
        content_hash=draft.content_hash(parent_hash), parent=None if parent is None else parent.number,
        parent_hash=parent_hash, state=draft.state, config_hash=draft.config_hash, base_hash=draft.base_hash,
        rows_kept=draft.keep_rows and len(draft.rows.ids) > 0, rows=len(draft.rows.ids), metrics=dict(draft.metrics),
        lineage=dict(draft.lineage), committed_at_ms=time.time_ns() // 1_000_000,
    )  # fmt: skip


def _arrow_schema() -> pa.Schema:
    latent = pa.list_(pa.field("element", pa.float32()))
    return pa.schema([("version", pa.int64()), ("kind", pa.string()), ("id", pa.string()), ("latent", latent)])


def _schema() -> Schema:
    return Schema.from_arrow(_arrow_schema())


def _to_arrow(number: int, rows: LatentRows) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(rows.latents, np.float32).reshape(-1))
    offsets = pa.array(np.arange(len(rows.ids) + 1, dtype=np.int32) * rows.latents.shape[1])
    columns = [
        pa.array(np.full(len(rows.ids), number, np.int64)),
        pa.array(rows.kinds.tolist(), pa.string()),
        pa.array(rows.ids.tolist(), pa.string()),
        pa.ListArray.from_arrays(offsets, flat, type=_arrow_schema().field("latent").type),
    ]
    return pa.table(columns, schema=_arrow_schema())


def _from_arrow(table: pa.Table, latent_dim: int) -> LatentRows:
    flat = table["latent"].combine_chunks().flatten().to_numpy()
    kinds, ids = (np.array(table[name].to_pylist(), dtype=str) for name in ("kind", "id"))
    return LatentRows(kinds, ids, flat.reshape(-1, latent_dim).astype(np.float32))


def _keys(rows: LatentRows) -> Iterator[tuple[str, str]]:
    return zip(rows.kinds.tolist(), rows.ids.tolist(), strict=True)


_VERSIONS_SCHEMA = pa.schema([
    ("number", pa.int64()), ("run", pa.string()), ("slide_end_ms", pa.int64()), ("content_hash", pa.string()),
    ("parent", pa.int64()), ("rows_kept", pa.bool_()), ("rows", pa.int64()), ("events", pa.int64()),
    ("committed_at_ms", pa.int64()), ("metrics", pa.string()),
])  # fmt: skip


def _flat(version: Version) -> dict[str, Any]:
    return {
        "number": version.number, "run": version.run, "slide_end_ms": version.slide_end_ms,
        "content_hash": version.content_hash, "parent": version.parent, "rows_kept": version.rows_kept,
        "rows": version.rows, "events": version.lineage.get("events"), "committed_at_ms": version.committed_at_ms,
        "metrics": json.dumps(version.metrics),
    }  # fmt: skip


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
