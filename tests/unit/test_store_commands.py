"""`dynmm store`: a run folder or a store folder, tables or one JSON document, one line where the request is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynmm_core.errors import UserError
from dynmm_core.store import Draft, LatentRows, LatentStore
from dynmm_core.store.commands import diff, log, show, sql
from dynmm_core.store.query import _VERSIONS_SCHEMA
from dynmm_core.store.rows import ARROW_SCHEMA

HOUR_MS = 3_600_000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with three versions; the rows of the middle one are not kept."""
    store, head = LatentStore.create_or_open(tmp_path / "store", 2), None
    for hour in (1, 2, 3):
        ids = ["a", "b"] if hour == 1 else ["b", "c"]
        rows = LatentRows(np.array(["item"] * 2), np.array(ids), np.full((2, 2), hour, np.float32))
        lineage, metrics = {"events": 10 * hour}, {"update_rejected": False}
        made = Draft("r", hour * HOUR_MS, "config", "base", "state", rows, hour != 2, metrics, lineage)
        head = store.commit(made, head)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_log_lists_the_newest_versions_of_a_run_and_of_a_store(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log(run, last=2, json=True)
    of_run = printed(capsys)
    log(run / "store", last=2, json=True)
    assert printed(capsys) == of_run
    assert [(version["number"], version["lineage"]["events"]) for version in of_run] == [(1, 20), (2, 30)]
    log(run, last=0, json=True)
    assert [version["number"] for version in printed(capsys)] == [0, 1, 2]
    log(run)
    table = capsys.readouterr().out
    assert "3 of 3 versions" in table and "2 hashed" in table and "1970-01-01 03:00:00 UTC" in table


def test_show_names_the_head_where_no_version_is_asked_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(run, json=True)
    head = printed(capsys)
    show(run, 2, json=True)
    assert printed(capsys) == head
    show(run, 0)
    assert "Version 0" in capsys.readouterr().out


def test_diff_lists_ids_that_came_and_how_far_the_others_moved(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diff(run, 0, 2, json=True)
    found = printed(capsys)
    assert found == {"added": [["item", "c"]], "removed": [], "changed": [["item", "b", pytest.approx(8**0.5)]]}
    diff(run, 0, 2)
    assert "1 ids added, 0 removed, 1 changed" in " ".join(capsys.readouterr().out.split())


def test_diff_lists_first_what_moved_farthest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, head = LatentStore.create_or_open(tmp_path, 1), None
    ids = np.array(["near", "far", "still", "between"])
    for hour, moved in ((1, [0.0, 0.0, 0.0, 0.0]), (2, [1.0, -3.0, 0.0, 2.0])):
        rows = LatentRows(np.array(["item"] * 4), ids, np.array(moved, np.float32)[:, None])
        head = store.commit(Draft("r", hour * HOUR_MS, "config", "base", "state", rows, True), head)
    diff(tmp_path, 0, 1, json=True)
    assert [tuple(row[1:]) for row in printed(capsys)["changed"]] == [("far", 3.0), ("between", 2.0), ("near", 1.0)]


def test_sql_tells_what_every_version_says_of_itself(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql(run, "SELECT * FROM versions ORDER BY number", json=True)
    told = printed(capsys)
    show(run, 1, json=True)
    version = printed(capsys)
    assert [(row["events"], json.loads(row["lineage"])) for row in told] == [(n, {"events": n}) for n in (10, 20, 30)]
    assert json.loads(told[1]["metrics"]) == {"update_rejected": False}
    plain = version.keys() - {"lineage", "metrics"}
    assert {name: told[1][name] for name in plain} == {name: version[name] for name in plain}


def test_sql_joins_versions_and_latents(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT number, id, latent FROM versions JOIN latents ON number = version ORDER BY ALL"
    sql(run, query, json=True)
    assert [(row["number"], row["id"], row["latent"]) for row in printed(capsys)] == [
        (0, "a", [1.0, 1.0]), (0, "b", [1.0, 1.0]), (2, "b", [3.0, 3.0]), (2, "c", [3.0, 3.0]),
    ]  # fmt: skip
    sql(run, query)
    assert "4 of 4 rows" in capsys.readouterr().out


@pytest.mark.parametrize("query", ["FROM versions;", "WITH v AS (FROM versions) FROM v", "DESCRIBE latents", "EXPLAIN SELECT 1"])
def test_sql_takes_whatever_looks(run: Path, query: str, capsys: pytest.CaptureFixture[str]) -> None:
    sql(run, query, json=True)
    assert printed(capsys)


def test_the_help_of_sql_tells_every_column() -> None:
    assert all(name in (sql.__doc__ or "") for name in (*_VERSIONS_SCHEMA.names, *ARROW_SCHEMA.names))


def test_sql_prints_every_type_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = """SELECT sum(rows) AS total, 1.5::DECIMAL(4, 2) AS price, 'a'::BLOB AS bytes, INTERVAL 1 HOUR AS span,
        DATE '2026-01-02' AS day, {'n': 2::HUGEINT} AS nested, NULL AS nothing, metrics->>'$.update_rejected' AS rejected
        FROM versions GROUP BY ALL"""
    sql(run, query, json=True)
    (row,) = printed(capsys)
    assert (row["total"], row["price"], row["bytes"], row["day"]) == (6, 1.5, "61", "2026-01-02")
    assert (row["nested"], row["nothing"], row["rejected"]) == ({"n": 2}, None, "false")
    assert isinstance(row["span"], str)


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (show, (9,), "version: 9 is not in .*, which holds 3 versions from 0"),
        (diff, (0, 1), r"the rows of 1 were not kept .*kept nearby: \[0, 2\]"),
        (diff, (-1, 2), "version: -1 is not in"),
        (sql, ("SELECT * FROM nowhere",), "query: .*nowhere.*; the views are latents and versions"),
        (sql, ("",), "is not one SELECT; ask with one"),
        (sql, ("COPY (SELECT 1) TO 'out.csv'",), "is not one SELECT; ask with one"),
        (sql, ("CREATE TABLE mine (n INT)",), "is not one SELECT; ask with one"),
        (sql, ("SELECT 1; SELECT 2",), "is not one SELECT; ask with one"),
        (sql, ("SELECT * FROM read_csv('/etc/passwd')",), "query: .*Cannot access file"),
        (sql, ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'out.csv'",), "query: .*Cannot access file"),
        (log, (-1,), "--last: -1 is too small; give 0 or more"),
    ],
)
def test_a_wrong_request_is_one_line(run: Path, command: Callable[..., None], arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        command(run, last=arguments[0]) if command is log else command(run, *arguments)
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_store_and_an_empty_store_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no latent store; name a run folder or its store folder"):
        log(tmp_path)
    LatentStore.create_or_open(tmp_path / "store", 2)
    with pytest.raises(UserError, match="holds no version yet"):
        show(tmp_path)
