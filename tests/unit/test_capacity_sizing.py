"""Sizing is plain arithmetic on the model, and what the broker adds comes from results that were measured."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.capacity.fit import CLOSE_TERMS, MEMORY_TERMS, READ_TERMS, Model
from benchmarks.capacity.load import Load, expect
from benchmarks.capacity.report import missed
from benchmarks.capacity.sizing import busiest_share, size
from benchmarks.capacity.wire import Wire, read_wire
from dynmm_core.errors import UserError

MB = 1 << 20
NOTHING = Model(*(dict.fromkeys(terms, 0.0) for terms in (READ_TERMS, CLOSE_TERMS, MEMORY_TERMS)), 0.0)
MODEL = replace(NOTHING, read={**NOTHING.read, "json_events": 1e-6, "arrow_events": 5e-7}, exchange_seconds=2e-7)
WIRE = Wire({"json": 1e-6, "arrow": 5e-7}, 80 * MB, 10 * MB, {})


def load(rate: int) -> Load:
    return Load(rate, 1_000, 1_000, 300_000)


def test_one_process_carries_what_is_below_the_utilisation() -> None:
    need = size(MODEL, WIRE, load(100_000), "json", 0.6)
    assert (need.processes, need.partitions) == (1, 4)
    assert need.cpu == pytest.approx(0.2)
    assert need.cores == pytest.approx(0.2 / 0.6)
    assert need.memory_bytes["clients_and_engine"] == (80 + 4 * 10) * MB


def test_processes_are_as_many_as_the_busiest_needs() -> None:
    # Two CPU seconds and what goes to other processes; of 16 buckets the busiest of four has 4, of five 4, of six 3.
    need = size(MODEL, WIRE, load(1_000_000), "json", 0.6)
    assert need.processes == 4
    assert need.cpu == pytest.approx(2 + 0.2 * 3 / 4)
    assert need.cpu * busiest_share(4) <= 0.6 < (2 + 0.2 * 2 / 3) * busiest_share(3)
    assert size(MODEL, WIRE, load(1_000_000), "json", 0.5).processes == 6
    assert size(MODEL, WIRE, load(1_000_000), "arrow", 0.6).processes == 2


def test_the_margin_is_on_the_job_and_not_on_the_broker() -> None:
    assert size(MODEL, WIRE, load(100_000), "json", 0.6, 1.5).cpu == pytest.approx(0.15 + 0.1)


def test_partitions_are_a_multiple_of_the_processes() -> None:
    for utilisation in (0.2, 0.3, 0.5, 0.6, 1.0):
        need = size(MODEL, WIRE, load(1_000_000), "json", utilisation)
        assert need.processes is not None
        assert need.partitions >= 4 and need.partitions % need.processes == 0


def test_more_than_all_buckets_can_carry_is_said() -> None:
    assert size(MODEL, WIRE, load(20_000_000), "json", 0.6).processes is None


def test_small_calls_cost_as_often_as_a_partition_can_be_asked() -> None:
    model = replace(MODEL, read={**MODEL.read, "batches": 1e-3})
    need = size(model, WIRE, load(10_000), "json", 0.6)
    assert need.cpu_in_small_calls == pytest.approx(0.02 + 4 * 200 * 1e-3)


def test_memory_is_shared_by_the_processes_but_for_the_base_and_a_closing_bucket() -> None:
    model = replace(NOTHING, memory=dict(zip(MEMORY_TERMS, (7.0, 0.0, 0.0, 3.0, 0.0, 16.0), strict=True)))
    one = load(1_000)
    counts = expect(one)
    parts = model.memory_bytes(one, counts, 0.5, 0.25)
    assert parts["base"] == 7
    assert parts["items"] == pytest.approx(3 * counts.items / 4)
    assert parts["open_events"] == pytest.approx(43 * 1_000 * 360 / 4)
    assert parts["closing_rows"] == pytest.approx(counts.events + counts.entries)
    assert parts["ids"] == pytest.approx(8 * 1_000 * 660 / 2)
    assert parts["total"] == pytest.approx(sum(value for name, value in parts.items() if name != "total"))


def written(folder: Path, **changes: Any) -> Path:
    rates = {"dynmm kafka json": 250_000, "dynmm json file": 500_000, "dynmm kafka arrow": 500_000, "dynmm memory": 1_000_000}
    rows = [
        {"engine": name, "profile": "full", "events_per_cpu_second": rate, "peak_rss_mb": 200.0}
        for name, rate in {**rates, **changes}.items()
    ]
    memory = [{"partitions": count, "peak_rss_mb": peak} for count, peak in ((4, 340.0), (4, 350.0), (12, 430.0))]
    (folder / "stream.json").write_text(json.dumps({"rows": rows}))
    (folder / "stream-memory.json").write_text(json.dumps({"rows": [], "memory": memory}))
    return folder


def test_the_wire_is_the_difference_of_measured_rows(tmp_path: Path) -> None:
    wire = read_wire(written(tmp_path))
    assert wire.seconds == pytest.approx({"json": 2e-6, "arrow": 1e-6})
    assert wire.partition_bytes == pytest.approx(10 * MB)
    assert wire.process_bytes == pytest.approx((350 - 40 - 200) * MB)
    assert "dynmm kafka json minus dynmm json file" in wire.sources["json"]


def test_results_without_a_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dynmm memory"):
        read_wire(written(tmp_path, **{"dynmm memory": None}))


def test_an_error_beyond_the_tolerance_is_named_whatever_its_sign() -> None:
    one = {
        "load": {"rate": 5, "slide_ms": 300_000},
        "form": "json",
        "cpu_seconds": {"error": -0.3},
        "memory_bytes": {"error": 0.2},
    }
    assert missed([one], 0.35) == []
    assert len(missed([one], 0.25)) == 1 and "cpu_seconds" in missed([one], 0.25)[0]
    assert len(missed([one], 0.1)) == 2
