"""The document of a benchmark: rows, what is required of them, the machine; and its tables."""

import os
import platform
from collections.abc import Sequence
from typing import Any

from benchmarks.check import Check
from benchmarks.stream.run import Measured
from dynmm_core.console import print_table
from replay.config import environment

Rows = dict[tuple[str, str], dict[str, Any]]
_MOST_MB = 512.0


def checks(rows: Rows) -> list[Check]:
    """What is required of the rows by (engine, profile)."""
    lines = ("dynmm json file", "windows")
    bytewax, flink, duckdb = (("bytewax fold_window", "windows"), ("flink sql hop", "windows"), ("duckdb json batch", "windows"))
    cpu, wall, peak = "events_per_cpu_second", "events_per_second", "peak_rss_mb"
    json_full, arrow_full = ("dynmm kafka json", "full"), ("dynmm kafka arrow", "full")
    return [
        Check("windows from a JSON file / bytewax, per CPU second", _ratio(rows, cpu, lines, bytewax), 100),
        Check("windows from a JSON file / flink, per CPU second", _ratio(rows, cpu, lines, flink), 5),
        Check("windows from a JSON file / flink, per CPU second", _ratio(rows, cpu, lines, flink), 10, stretch=True),
        Check("windows from a JSON file / flink, memory", _ratio(rows, peak, lines, flink), round(1 / 3, 3), most=True),
        Check("windows from a JSON file / duckdb, per CPU second", _ratio(rows, cpu, lines, duckdb), 1, stretch=True),
        Check("full from kafka json, M events per CPU second", _millions(rows, cpu, json_full), 0.5),
        Check("full from kafka json, M events per second", _millions(rows, wall, json_full), 0.6),
        Check("full from kafka arrow, M events per CPU second", _millions(rows, cpu, arrow_full), 1.0),
        Check("full, most memory, MiB", _highest(rows, peak), _MOST_MB, most=True),
    ]


def growth_checks(rows: Sequence[dict[str, Any]]) -> list[Check]:
    """What is required of memory by partitions and events; nothing where it was not measured."""
    found = []
    for partitions in sorted({row["partitions"] for row in rows}):
        peaks = [row["peak_rss_mb"] for row in rows if row["partitions"] == partitions]
        found.append(Check(f"memory at {partitions} partitions, MiB", max(peaks), _MOST_MB, most=True))
        found.append(
            Check(f"memory at {partitions} partitions, all events / half of them", peaks[-1] / peaks[-2], 1.1, most=True)
        )
    return found


def curve_checks(rows: Sequence[dict[str, Any]]) -> list[Check]:
    """What is required of the curves; nothing where they were not measured."""
    found = []
    for profile in sorted({row["profile"] for row in rows}, reverse=True):
        first, last = _ends(rows, profile, "horizon")
        found.append(Check(f"{profile}: cost of a slide, longest horizon / shortest", last / first, 1.25, most=True))
        before, last = _ends(rows, profile, "items", 2)
        found.append(Check(f"{profile}: cost of a slide, ten times the items", last / before, 15, most=True))
    return found


def document_of(
    measured: Sequence[Measured], density: float, memory: Sequence[dict[str, Any]] = (), curves: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:  # fmt: skip
    """Rows, checks, density and machine; memory and curves where they were measured."""
    rows = [one.row() for one in measured]
    by_key = {one.engine.key: row for one, row in zip(measured, rows, strict=True)}
    required = [*checks(by_key), *growth_checks(memory), *curve_checks(curves)]
    return {
        "density": round(density, 3),
        "runs": max((len(one.results) for one in measured), default=0),
        "rows": rows,
        "checks": [check.to_json() for check in required],
        "machine": {**environment(), "cpus": os.cpu_count(), "processor": _processor(), "system": platform.platform()},
        **({"memory": list(memory)} if memory else {}),
        **({"curves": list(curves)} if curves else {}),
    }


def print_document(document: dict[str, Any]) -> None:
    """Tables of the rows and the checks."""
    lines = [
        [f"{row['engine']}, {row['profile']}", *(_figure(row[name]) for name in _COLUMNS), row.get("unmeasured", "")[:60]]
        for row in document["rows"]
    ]
    heads = ["engine, profile", "events / CPU s", "events / s", "peak MiB", "events", "unmeasured"]
    if not any(line[-1] for line in lines):
        heads, lines = heads[:-1], [line[:-1] for line in lines]
    print_table(heads, lines, title=f"{document['density']:.0f} events per event-second, runs: {document['runs']}")
    verdicts = {True: "yes", False: "NO", None: "unmeasured"}
    required = [
        [check["check"] + (" (stretch)" if check["stretch"] else ""), "" if check["value"] is None else f"{check['value']:,}",
         f"at most {check['most']:,}" if "most" in check else f"at least {check['least']:,}", verdicts[check["passed"]]]
        for check in document["checks"]
    ]  # fmt: skip
    print_table(["required", "measured", "bound", "holds"], required)


_COLUMNS = ("events_per_cpu_second", "events_per_second", "peak_rss_mb", "events")


def _ends(rows: Sequence[dict[str, Any]], profile: str, curve: str, back: int = 0) -> tuple[float, float]:
    """Costs at the first point of a curve, or the one so far from its end, and at its last."""
    costs = [row["cpu_ms_per_slide"] for row in rows if row["profile"] == profile and row["curve"] == curve]
    return costs[-back], costs[-1]


def _ratio(rows: Rows, name: str, ours: tuple[str, str], peer: tuple[str, str]) -> float | None:
    values = [rows.get(key, {}).get(name) for key in (ours, peer)]
    return None if None in values else values[0] / values[1]


def _millions(rows: Rows, name: str, key: tuple[str, str]) -> float | None:
    value = rows.get(key, {}).get(name)
    return None if value is None else value / 1e6


def _highest(rows: Rows, name: str) -> float | None:
    kafka = ("dynmm kafka json", "dynmm kafka arrow")  # what is held in memory by intent is no stream's memory
    found = [row[name] for (engine, profile), row in rows.items() if engine in kafka and profile == "full"]
    return max(found, default=None)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()
