"""The latent store: one append-only Delta table, one commit per slide."""

import bisect
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from dynmm_core.errors import UserError
from dynmm_core.store.durable import full_disk_told, sync
from dynmm_core.store.lineage import Lineage, Rollback
from dynmm_core.store.query import run_query
from dynmm_core.store.rows import DELTA_SCHEMA, from_arrow, keys, write_rows
from dynmm_core.store.state import StateFiles
from dynmm_core.store.version import ConflictingVersion, Draft, LatentRows, StaleParent, Version

_TABLE = "latents"
_METADATA_KEY = "dynmm"
_ROLLBACK_KEY = "dynmm_rollback"
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
    """What changed between two kept versions: ids new in the later one, how far common ones moved, ids that are gone."""

    added: list[tuple[str, str]]
    changed: list[tuple[str, str, float]]
    removed: list[tuple[str, str]]


class LatentStore:
    """Versions of item and user latents at ``path``; a version is one atomic commit and never changes.

    A commit names the version it was made against and is refused if that is no longer the head: two writers cannot
    both win. Killing a writer at any moment leaves either the whole version or none of it. One object serves one thread.

    The active lineage is the chain of parents of the head; a rollback makes an older version of it the head again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path / _TABLE
        self._table = self._open_table()
        self.latent_dim = int(json.loads(self._table.metadata().description)["latent_dim"])
        self._commits = 0
        # The log, read once and then only where it grew; Delta's version 0 made the table and is none of ours.
        self._lineage = Lineage()
        self._delta_version = 0

    @classmethod
    def create_or_open(cls, path: Path, latent_dim: int) -> "LatentStore":
        """Open the store at ``path``, or make an empty one for latents of ``latent_dim`` floats.

        Raises:
            UserError: the store holds latents of another width, or is damaged.
        """
        if not DeltaTable.is_deltatable(_address(path)):
            description = json.dumps({"latent_dim": latent_dim})
            with full_disk_told(path):
                path.mkdir(parents=True, exist_ok=True)
                DeltaTable.create(_address(path), DELTA_SCHEMA, description=description, configuration=_CONFIGURATION)
        store = cls(path)
        if store.latent_dim != latent_dim:
            raise UserError(
                f"latent_dim: {path} holds latents of {store.latent_dim} floats, not {latent_dim}; name another store"
            )
        return store

    @classmethod
    def open(cls, path: Path) -> "LatentStore":
        """Open an existing store.

        Raises:
            UserError: there is none at ``path``, or it is damaged.
        """
        if not DeltaTable.is_deltatable(_address(path)):
            raise UserError(f"store: {path} holds no latent store; name a run folder or its store folder")
        return cls(path)

    def head(self) -> Version | None:
        """Return the newest version of the active lineage, or None in an empty store."""
        self._read_on()
        return self._lineage.head

    def log(self) -> list[Version]:
        """Return every version ever committed, oldest first, whatever was rolled back."""
        self._read_on()
        return list(self._lineage.versions)

    def active(self) -> list[Version]:
        """Return the versions of the active lineage, oldest first."""
        self._read_on()
        return self._lineage.active()

    def skipped(self) -> list[Version]:
        """Return the inactive versions whose slides the active lineage was told not to learn from again."""
        self._read_on()
        return self._lineage.skipped()

    def newest_slide(self) -> Version | None:
        """Return the version of the last slide that the active lineage took in or skipped; the stream goes on behind it."""
        self._read_on()
        return self._lineage.newest_slide()

    def rollbacks(self) -> list[Rollback]:
        """Return every rollback, oldest first; the last one names the only run that may commit."""
        self._read_on()
        return list(self._lineage.rollbacks)

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
        3. The rows' file is on disk before the commit that shows it; the commit is on disk before this returns.

        Raises:
            ConflictingVersion: the slide was committed before with other content.
            StaleParent: the head is not ``parent`` any more, or the store was rolled back for another run.
            UserError: the disk is full.
        """
        if draft.rows.latents.shape[1] != self.latent_dim:
            raise ValueError(f"rows: {draft.rows.latents.shape[1]} floats a latent, but the store has {self.latent_dim}")
        if not self._is_known_head(parent):
            self._read_on()
        if (repeated := self._repeated(draft)) is not None:
            return repeated
        if not self._is_known_head(parent):
            raise StaleParent(f"parent: the head of {self.path} is {_name(self._lineage.head)}, not {_name(parent)}")
        number = len(self._lineage.versions)
        # Through JSON and back: the writer holds the very version that a reader will see.
        version = Version.from_json(Version.made_from(draft, parent, number, _now_ms()).to_json())
        try:
            with full_disk_told(self._folder):
                self._write(version, draft.sorted_rows)
        except CommitFailedError as error:
            self._read_on()
            if (repeated := self._repeated(draft)) is not None:
                return repeated
            raise StaleParent(f"parent: another writer committed to {self.path} at the same time") from error
        return version

    def rollback(self, to: int, run: str | None = None, skip: bool = False) -> Rollback:
        """Make version ``to`` the head again, for a run of a new name; nothing is removed.

        The new run's first slide is the one behind ``to``, whose slides are learned from again, or with ``skip`` the one
        behind the head that was left. Writers of older runs are refused from now on.

        Args:
            to: a version of the active lineage; run: None counts the active run's name on.

        Raises:
            UserError: ``to`` is not active or is the head, the run's name was used, or a trainer state is gone.
            StaleParent: another writer committed at the same time.
        """
        self.get(to)
        run = self._lineage.new_run_name() if run is None else run
        rollback = self._lineage.plan(to, run, skip, _now_ms())
        self._check_states(self._lineage.versions[to])
        properties = CommitProperties(custom_metadata={_ROLLBACK_KEY: rollback.to_json()}, max_commit_retries=0)
        try:
            with full_disk_told(self._folder):
                self._commit([], properties)
        except CommitFailedError as error:
            raise StaleParent(f"version: a writer committed to {self.path} meanwhile; stop it and roll back again") from error
        self._lineage.roll_back(rollback)
        return rollback

    def at(self, number: int) -> LatentTable:
        """Return all latents as version ``number`` left them: the newest row of every id along its own chain of parents.

        Raises:
            UserError: no such version, or its rows were hashed but not kept.
        """
        version = self.get(number)
        kept = [v.number for v in self._lineage.chain(number) if v.rows_kept]
        if not version.rows_kept:
            every = [v.number for v in self._lineage.versions if v.rows_kept]
            place = bisect.bisect_left(every, number)
            near = every[max(0, place - 1) : place + 1]
            raise UserError(f"version: the rows of {number} were not kept (--store-every); kept nearby: {near or 'none'}")
        first = max((n for n in kept if self._lineage.versions[n].full), default=0)
        query = (
            # The range stands on both sides: only a plain filter on the scan skips files.
            f"WITH those AS (FROM latents WHERE version BETWEEN {first:d} AND {number:d}{self._other_branches(kept)}),"
            " newest AS (SELECT kind, id, max(version) AS version FROM those GROUP BY ALL)"
            " SELECT kind, id, latent FROM those JOIN newest USING (kind, id, version) ORDER BY kind, id"
        )
        found = run_query(query, self._table.to_pyarrow_dataset())
        return LatentTable(version, from_arrow(found, self.latent_dim))

    def as_of(self, event_time_ms: int) -> Version:
        """Return the newest active version whose slide ended at or before ``event_time_ms``.

        Raises:
            UserError: no version is that old.
        """
        versions = [version for version in self.active() if version.slide_end_ms <= event_time_ms]
        if not versions:
            raise UserError(f"event_time_ms: {self.path} has no version at {event_time_ms} or before; name a later time")
        return max(versions, key=lambda version: (version.slide_end_ms, version.number))

    def diff(self, earlier: int, later: int) -> Difference:
        """Compare two kept versions.

        Raises:
            UserError: see :meth:`at`.
        """
        before, after = self.at(earlier).rows, self.at(later).rows
        old = dict(zip(keys(before), before.latents, strict=True))
        new = dict(zip(keys(after), after.latents, strict=True))
        moved = [(*key, float(np.linalg.norm(new[key] - old[key]))) for key in new if key in old]
        changed = [row for row in moved if row[2] > 0]
        return Difference([key for key in new if key not in old], changed, [key for key in old if key not in new])

    def sql(self, query: str) -> pa.Table:
        """Run DuckDB SQL over two views: ``latents`` (version, kind, id, latent) and ``versions`` (with ``active``).

        Raises:
            UserError: DuckDB refuses the query.
        """
        versions = self.log()
        active = {version.number for version in self._lineage.active()}
        return run_query(query, self._table.to_pyarrow_dataset(), versions, active)

    def row_file_bytes(self) -> dict[int, int]:
        """Return how many bytes of latents each version added to the table, by its number; those without rows are left out.

        The table's own log tells, whatever the files' times; trainer states, which come and go, are not in it.
        """
        self._read_on()
        added = pa.table(self._table.get_add_actions(flatten=True))
        return dict(zip(added["min.version"].to_pylist(), added["size_bytes"].to_pylist(), strict=True))

    def _open_table(self) -> DeltaTable:
        try:
            return DeltaTable(_address(self.path))
        except DeltaError as error:
            log = self._folder / "_delta_log"
            raise UserError(
                f"store: {self.path} cannot be read ({str(error).splitlines()[0]});"
                f" if the machine lost power, remove the newest file of {log} and resume the run"
            ) from error

    def _read_on(self) -> None:
        """Read the versions committed since the last look, by this or any other process."""
        self._table.update_incremental()
        behind = self._table.version() - self._delta_version
        # What was committed since the handle was moved on comes on top of the entries asked for; it is read the next time.
        found = self._table.history(behind)[::-1][:behind] if behind else []
        for entry in found:
            if _METADATA_KEY in entry:
                self._lineage.add(Version.from_json(entry[_METADATA_KEY]))
            elif _ROLLBACK_KEY in entry:
                self._lineage.roll_back(Rollback.from_json(entry[_ROLLBACK_KEY]))
        self._delta_version += behind

    def _is_known_head(self, parent: Version | None) -> bool:
        # A handle that saw further than the log we read would commit on top of a version nobody looked at.
        head = self._lineage.head
        same = (head and head.content_hash) == (parent and parent.content_hash)
        return same and self._table.version() == self._delta_version

    def _repeated(self, draft: Draft) -> Version | None:
        active_run, versions = self._lineage.run, self._lineage.versions
        if active_run is not None and draft.run != active_run:
            raise StaleParent(f"run: {self.path} was rolled back for run {active_run}; run {draft.run} may not commit any more")
        # Behind a rollback the run's own versions are the newest ones, and what it may not commit again lies before them.
        newest = next((v for v in reversed(versions) if v.run == draft.run), None) or (
            active_run and self._lineage.newest_slide()
        )
        if not newest or draft.slide_end_ms > newest.slide_end_ms:
            return None
        slide = (draft.run, draft.slide_end_ms)
        found = next((v for v in reversed(versions) if (v.run, v.slide_end_ms) == slide), None)
        if found is None or draft.content_hash(found.parent_hash) != found.content_hash:
            what = "lies behind the run's newest version" if found is None else f"is version {found.number} with other content"
            raise ConflictingVersion(f"slide_end_ms: {draft.slide_end_ms} of run {draft.run} {what}; use a run of another name")
        return found

    def _check_states(self, version: Version) -> None:
        """Refuse a version whose trainer state, or one that its next events may still see, was removed."""
        states = StateFiles(self.path / "state")
        oldest = int(version.metrics.get("serves_from", version.number))
        gone = [v.number for v in self._lineage.chain(version.number) if v.number >= oldest and not states.has(v.state)]
        if gone:
            here = [v.number for v in self._lineage.active() if states.has(v.state)]
            raise UserError(
                f"version: the trainer state of {gone[0]} was removed, so that {version.number} cannot go on;"
                f" states go back to version {min(here, default='none')} (rollback_versions)"
            )

    def _other_branches(self, kept: list[int]) -> str:
        """Return the condition that leaves out rows of versions outside a chain; nothing where there was no rollback."""
        return f" AND version IN ({', '.join(str(number) for number in kept)})" if self._lineage.rollbacks else ""

    def _write(self, version: Version, rows: LatentRows) -> None:
        stored = version.rows_kept and version.rows
        actions: list[AddAction | RemoveAction] = [write_rows(self._folder, version, rows)] if stored else []
        properties = CommitProperties(
            custom_metadata={_METADATA_KEY: version.to_json()},
            max_commit_retries=0,
            app_transactions=[Transaction(version.run, version.number)],
        )
        self._commit(actions, properties)
        self._lineage.add(version)

    def _commit(self, actions: list[AddAction | RemoveAction], properties: CommitProperties) -> None:
        """Commit to the table, durably, on top of all that was read of it."""
        self._table.create_write_transaction(actions, "append", DELTA_SCHEMA, commit_properties=properties)
        self._delta_version += 1
        log = self._folder / "_delta_log"
        sync(log / f"{self._delta_version:020}.json")
        sync(log)
        self._commits += 1
        if self._commits % _COMMITS_PER_HANDLE == 0:
            # A handle slows down with every commit made through it.
            self._table = self._open_table()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _address(path: Path) -> str:
    address = str((path / _TABLE).resolve())
    # delta-rs reads its own log through URLs that it does not escape: behind such a sign it finds no commits.
    if signs := sorted(set(address) & set("#?%")):
        raise UserError(f"store: {path} has {' '.join(signs)} in its full path, where Delta finds nothing; name another folder")
    return address


def _name(version: Version | None) -> str:
    return "nothing" if version is None else f"version {version.number}"
