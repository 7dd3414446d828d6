"""The `dynmm store` commands: log, show, diff, sql, rollback."""

from dataclasses import asdict
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter

from dynmm_core.console import print_json, print_table
from dynmm_core.errors import UserError
from dynmm_core.store.latents import LatentStore
from dynmm_core.store.version import Version
from dynmm_core.times import format_time

Json = Annotated[bool, Parameter(negative="")]
SHOWN = 20


def log(path: Path, *, last: int = SHOWN, json: Json = False) -> None:
    """List a store's versions, oldest first; those that a rollback left are marked.

    Parameters
    ----------
    path
        A run folder, or a store folder.
    last
        Show so many of the newest versions; 0 shows all.
    json
        Print every field as one JSON document.
    """
    if last < 0:
        raise UserError(f"--last: {last} is too small; give 0 or more, where 0 shows all")
    store = open_store(path)
    versions, active = store.log(), {version.number for version in store.active()}
    shown = versions[-last:] if last else versions
    if json:
        print_json([asdict(version) | {"active": version.number in active} for version in shown])
        return
    rows = [_log_row(version, version.number in active) for version in shown]
    print_table(["version", "slide end", "content", "events", "rows"], rows, title=f"{len(shown)} of {len(versions)} versions")


def show(path: Path, version: int | None = None, *, json: Json = False) -> None:
    """Show one version: its causes, its rows and the figures that travel with it.

    Parameters
    ----------
    path
        A run folder, or a store folder.
    version
        Its number; the head if left out.
    json
        Print one JSON document.
    """
    store = open_store(path)
    found = store.head() if version is None else store.get(version)
    if found is None:
        raise UserError(f"store: {path} holds no version yet; replay a log into it first")
    if json:
        print_json(asdict(found))
        return
    facts = {name: value for name, value in asdict(found).items() if name not in ("metrics", "lineage")}
    facts["slide_end_ms"] = f"{found.slide_end_ms} ({format_time(found.slide_end_ms)})"
    facts |= {f"lineage.{name}": value for name, value in found.lineage.items()}
    print_table(["field", "value"], [[name, str(value)] for name, value in facts.items()], title=f"Version {found.number}")


def diff(path: Path, earlier: int, later: int, *, json: Json = False) -> None:
    """Compare two versions whose rows were kept: new ids, and how far the common ones moved.

    Parameters
    ----------
    path
        A run folder, or a store folder.
    earlier
        Number of the version to start from.
    later
        Number of the version to compare with it.
    json
        Print every id as one JSON document.
    """
    found = open_store(path).diff(earlier, later)
    changed = sorted(found.changed, key=lambda row: -row[2])
    if json:
        print_json({"added": found.added, "removed": found.removed, "changed": changed})
        return
    rows = [[f"{kind} {name}", f"{norm:.4f}"] for kind, name, norm in changed[:SHOWN]]
    counts = f"{len(found.added)} ids added, {len(found.removed)} removed, {len(changed)} changed"
    print_table(["id", "distance"], rows, title=f"{counts}; the {len(rows)} that moved farthest")


def sql(path: Path, query: str, *, json: Json = False) -> None:
    """Look into a store with DuckDB SQL.

    The view `latents` has the columns version, kind, id and latent; `versions` has number, run, slide_end_ms, content_hash,
    parent, parent_hash, state, config_hash, base_hash, rows_kept, rows, full, events, committed_at_ms, metrics, lineage and
    active. metrics and lineage are JSON.

    Parameters
    ----------
    path
        A run folder, or a store folder.
    query
        One SELECT.
    json
        Print the rows as one JSON document.
    """
    table = open_store(path).sql(query)
    if json:
        print_json([{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()])
        return
    rows = [[str(value) for value in row.values()] for row in table.slice(0, 1_000).to_pylist()]
    print_table(table.column_names, rows, title=f"{min(table.num_rows, 1_000)} of {table.num_rows} rows")


def rollback(path: Path, version: int, *, skip: bool = False, run: str | None = None, json: Json = False) -> None:
    """Make an older version the head again; the versions after it stay readable and are served no more.

    Stop the run first; go on with it afterwards, in the same folder.

    Parameters
    ----------
    path
        A run folder, or a store folder.
    version
        Its number; one of the active lineage.
    skip
        Do not learn again from the slides behind it: go on behind the head that is left.
    run
        Name of the run that goes on from there; the present name, counted on, if left out.
    json
        Print one JSON document.
    """
    done = open_store(path).rollback(version, run, skip)
    if json:
        print_json(asdict(done))
        return
    begins = format_time(done.through_ms)
    skipped = f"; slides after {format_time(done.after_ms)} are skipped" if skip else ""
    print(f"version {version} is the head again; run {done.run} goes on behind {begins}{skipped}")


def open_store(path: Path) -> LatentStore:
    """Open the store of a run folder, or the store itself."""
    return LatentStore.open(path / "store" if (path / "store").is_dir() else path)


def _plain(value: Any) -> Any:
    """Return what JSON can hold: DuckDB's sums of integers are decimals, and blobs and intervals have no JSON of their own."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, str | int | float | bool | date | time | UUID) else str(value)


def _log_row(version: Version, active: bool) -> list[str]:
    number = str(version.number) if active else f"({version.number})"
    events = str(version.lineage.get("events", ""))
    rows = _rows(version) if active else f"{_rows(version)}, inactive"
    return [number, format_time(version.slide_end_ms), version.content_hash[:12], events, rows]


def _rows(version: Version) -> str:
    return f"{version.rows} kept" if version.rows_kept else f"{version.rows} hashed"
