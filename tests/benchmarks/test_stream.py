"""The stream benchmark: every engine is given the same events, and a wrong result is found out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_broker import LocalBroker

from benchmarks.check import Check
from benchmarks.stream import run
from benchmarks.stream.cells import differing_cells, reference_cells
from benchmarks.stream.commands import bench_stream
from benchmarks.stream.engines import ENGINES, Engine, choose
from benchmarks.stream.events import SLIDE_MS, START_MS, WINDOW_MS, EventPlan, density_of, make_events, write_json, write_parquet
from benchmarks.stream.inputs import Inputs
from benchmarks.stream.numbers import ItemNumbers
from benchmarks.stream.report import curve_checks, document_of, growth_checks
from benchmarks.stream.run import Measured, measure_all
from dynmm_core.errors import CheckFailed, UserError

# Few events per event-second, so that few events are many slides.
PLAN = EventPlan(events=4_000, density=2, users=50, items=300)
FILES = ("dynmm memory", "dynmm json file", "dynmm parquet", "duckdb json batch", "bytewax fold_window")


def measured_by(engines: list[Engine], work: Path, bootstrap: str | None = None) -> list[Measured]:
    with Inputs(PLAN, work, partitions=2, bootstrap=bootstrap) as inputs:
        return measure_all(engines, inputs, 1, lambda text: None)


def check_rows(measured: list[Measured], count: int) -> None:
    assert [(one.engine.key, one.reason, one.differs) for one in measured] == [(one.engine.key, None, None) for one in measured]
    rows = document_of(measured, 2.0)["rows"]
    assert len(rows) == count
    for row in rows:
        assert set(row) == {"engine", "profile", "events_per_cpu_second", "events_per_second", "peak_rss_mb", "events"}
        assert row["events"] == PLAN.events
        assert row["events_per_cpu_second"] > 0 and row["events_per_second"] > 0 and row["peak_rss_mb"] > 10


def test_engines_on_files_agree_with_the_reference_and_each_other(tmp_path: Path) -> None:
    measured = measured_by(choose(FILES, peers=False), tmp_path)
    check_rows(measured, 8)
    full = [one.results[0]["outcome"] for one in measured if one.engine.profile == "full"]
    assert full[0] == full[1] == full[2]
    assert full[0]["pairs"] > 0 and full[0]["slides"] % 7 == 0


def test_engines_on_kafka_agree(tmp_path: Path, broker: LocalBroker) -> None:
    measured = measured_by(
        choose(("dynmm parquet", "dynmm kafka json", "dynmm kafka arrow"), peers=False), tmp_path, broker.bootstrap
    )
    check_rows(measured, 6)


@pytest.mark.parametrize("engine", ["dynmm parquet", "bytewax fold_window"])
def test_a_wrong_count_is_found_out(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_job = run.run_job

    def falsified(engine: Engine, job: dict[str, Any]) -> dict[str, Any]:
        result = run_job(engine, job)
        cells = Path(job["cells"])
        if cells.suffix == ".csv":
            head, first, *rest = cells.read_text().splitlines()
            cells.write_text("\n".join([head, first + "0", *rest]))
        else:
            with pa.ipc.open_file(cells.read_bytes()) as reader:
                table = reader.read_all()
            with pa.ipc.new_file(str(cells), table.schema) as writer:
                writer.write_table(table.slice(1))
        return result

    monkeypatch.setattr(run, "run_job", falsified)
    chosen = [one for one in choose([engine], peers=False) if one.profile == "windows"]
    assert measured_by(chosen, tmp_path)[0].differs is not None


def test_a_stream_that_loses_an_event_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_job = run.run_job

    def losing(engine: Engine, job: dict[str, Any]) -> dict[str, Any]:
        result = run_job(engine, job)
        result["outcome"]["counted"] -= 1
        return result

    monkeypatch.setattr(run, "run_job", losing)
    chosen = [one for one in choose(["dynmm parquet"], peers=False) if one.profile == "full"]
    assert measured_by(chosen, tmp_path)[0].differs is not None


def test_differing_results_end_the_command_with_3_behind_its_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "differing_cells", lambda found, reference: 7)
    with pytest.raises(CheckFailed, match="7 cells") as failed:
        bench_stream(events=500, runs=1, only=("duckdb json batch",), work=tmp_path, json=True)
    assert failed.value.exit_code == 3
    document = json.loads(capsys.readouterr().out)
    assert document["rows"][0]["engine"] == "duckdb json batch" and document["density"] == pytest.approx(300, rel=0.01)
    assert list(tmp_path.iterdir()) == []


def test_a_peer_that_cannot_be_had_is_unmeasured_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise run.Unmeasured("there is no network")

    monkeypatch.setattr(run, "python_of", missing)
    [row] = document_of(measured_by(choose(["flink sql hop"], peers=False), tmp_path), 2.0)["rows"]
    assert row["unmeasured"] == "there is no network" and row["events_per_cpu_second"] is None


def test_the_reference_counts_each_event_in_every_window_over_it(tmp_path: Path) -> None:
    events = make_events(EventPlan(events=1, density=1))
    write_parquet(events, tmp_path / "events.parquet")
    reference_cells(tmp_path / "events.parquet", tmp_path / "cells.parquet")
    item = events["item_id"][0].as_py()
    ends = range(START_MS + SLIDE_MS, START_MS + WINDOW_MS + 1, SLIDE_MS)
    right = "window_end_ms,item_id,events\n" + "".join(f"{end},{item},1\n" for end in ends)
    (tmp_path / "right.csv").write_text(right)
    assert differing_cells(tmp_path / "right.csv", tmp_path / "cells.parquet") == 0
    (tmp_path / "short.csv").write_text(right.rsplit("\n", 2)[0])
    assert differing_cells(tmp_path / "short.csv", tmp_path / "cells.parquet") == 1


def test_events_are_as_planned_and_alike_in_every_form(tmp_path: Path) -> None:
    events = make_events(PLAN)
    assert events == make_events(PLAN) != make_events(EventPlan(events=4_000, density=2, users=50, items=300, seed=1))
    assert density_of(events) == pytest.approx(2, rel=0.01)
    times = events["event_time_ms"].to_numpy()
    behind = max(int(newest) - int(time) for newest, time in zip(np.maximum.accumulate(times), times, strict=True))
    assert 0 < behind <= PLAN.disorder_ms
    write_json(events, tmp_path / "events.jsonl")
    assert pa_json.read_json(tmp_path / "events.jsonl").cast(events.schema) == events


def test_engines_are_chosen_by_name() -> None:
    assert {one.name for one in choose((), peers=True)} == {one.name for one in ENGINES}
    assert len(choose((), peers=True)) == len(choose((), peers=False)) + 2
    with pytest.raises(UserError, match="--only"):
        choose(["spark"], peers=False)


def test_checks_tell_what_holds_and_what_was_not_measured() -> None:
    assert Check("a", 2.0, 1.0).to_json()["passed"] is True
    assert Check("a", 0.5, 1.0).to_json()["passed"] is False
    assert Check("a", 0.5, 1.0, most=True).to_json()["passed"] is True
    assert Check("a", None, 1.0).to_json()["passed"] is None


@given(st.lists(st.lists(st.integers(0, 30_000).map(str), max_size=300), max_size=8), st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_items_are_numbered_in_order_of_appearance(batches: list[list[str]], slots_per_item: int) -> None:
    numbers, known = ItemNumbers(), dict[str, int]()
    for batch in [*batches, [str(item * slots_per_item) for item in range(3_000)]]:
        expected = [known.setdefault(item, len(known) + 1) for item in batch]
        assert numbers.numbers_of(pa.array(batch, pa.string())).tolist() == expected
    assert numbers.names.to_pylist() == list(known)


def test_memory_and_curves_are_judged() -> None:
    grown = [{"partitions": 4, "events": events, "peak_rss_mb": peak} for events, peak in ((1, 200.0), (2, 300.0), (4, 400.0))]
    assert [(check.value, check.to_json()["passed"]) for check in growth_checks(grown)] == [(400.0, True), (4 / 3, False)]
    costs = {"horizon": [10.0, 11.0, 12.0], "items": [1.0, 10.0, 200.0]}
    curve = [{"profile": "full", "curve": name, "cpu_ms_per_slide": cost} for name, found in costs.items() for cost in found]
    assert [(check.value, check.to_json()["passed"]) for check in curve_checks(curve)] == [(1.2, True), (20.0, False)]
