"""DuckDB over a store: the views `latents` and `versions`."""

import json
from collections.abc import Container, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from dynmm_core.errors import UserError
from dynmm_core.store.version import Version

# A query reaches neither for the network nor for files: what DuckDB's wheel and the two views hold is all there is.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False, "enable_external_access": False,
}  # fmt: skip
_LOOKS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)  # WITH, FROM, VALUES, DESCRIBE and SHOW are SELECT, too
_VERSIONS_SCHEMA = pa.schema([
    ("number", pa.int64()), ("run", pa.string()), ("slide_end_ms", pa.int64()), ("content_hash", pa.string()),
    ("parent", pa.int64()), ("parent_hash", pa.string()), ("state", pa.string()), ("config_hash", pa.string()),
    ("base_hash", pa.string()), ("rows_kept", pa.bool_()), ("rows", pa.int64()), ("full", pa.bool_()),
    ("events", pa.int64()), ("committed_at_ms", pa.int64()), ("metrics", pa.string()), ("lineage", pa.string()),
    ("active", pa.bool_()),
])  # fmt: skip


def run_query(query: str, latents: ds.Dataset, versions: Sequence[Version] = (), active: Container[int] = ()) -> pa.Table:
    """Run one SQL statement that changes nothing over the views ``latents`` and ``versions`` and return its rows.

    Args:
        active: numbers of the versions of the active lineage.

    Raises:
        UserError: DuckDB refuses the query, or it is no single statement that looks.
    """
    connection = duckdb.connect(config=_SETTINGS)
    connection.register("latents", latents)
    rows = [_row(version) | {"active": version.number in active} for version in versions]
    connection.register("versions", pa.Table.from_pylist(rows, _VERSIONS_SCHEMA))
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type not in _LOOKS:
            raise UserError(f"query: {query!r} is not one SELECT; ask with one, the views are latents and versions")
        return connection.sql(query).to_arrow_table()
    except duckdb.Error as error:
        raise UserError(f"query: {str(error).splitlines()[0]}; the views are latents and versions") from error
    finally:
        connection.close()


def _row(version: Version) -> dict[str, Any]:
    fields = {name: getattr(version, name) for name in _VERSIONS_SCHEMA.names if name not in ("events", "active")}
    events = version.lineage.get("events")
    return fields | {"events": events, "metrics": json.dumps(version.metrics), "lineage": json.dumps(version.lineage)}
