"""The document of a capacity run: the model, its checks at loads that were not fitted, what loads need; and its tables."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.capacity.fit import Model
from benchmarks.capacity.load import Load, expect
from benchmarks.capacity.points import FORMS, Point
from benchmarks.capacity.sizing import SIZED, size
from benchmarks.capacity.wire import Wire
from dynmm_core.console import print_table
from replay.config import environment

_MB = 1 << 20
_BENCHMARK_SLIDES = 7
_BENCHMARK = Load(300, 10_000, 20_000, batch_rows=13_000)  # as in the stream benchmark, in blocks of a megabyte
_BESIDE = {"json": "dynmm json file", "arrow": "dynmm memory"}
Document = dict[str, Any]


def check(model: Model, point: Point) -> Document:
    """A point as predicted from its load alone, and as measured; memory only in JSON, where the model has it from.

    ``above_base`` is the part of the memory that the load decides.
    """
    predicted = {"cpu_seconds": model.cpu_seconds(point.total(), point.form)}
    measured = {"cpu_seconds": point.cpu_seconds}
    if point.form == "json":
        base = model.memory["base"]
        memory = model.memory_bytes(point.load, point.counts()[-1])["total"]
        predicted |= {"memory_bytes": memory}
        measured |= {"memory_bytes": point.peak_bytes}
        if point.peak_bytes > base:
            predicted |= {"above_base_bytes": memory - base}
            measured |= {"above_base_bytes": point.peak_bytes - base}
    figures = {
        name: {"predicted": value, "measured": measured[name], "error": value / measured[name] - 1}
        for name, value in predicted.items()
    }
    return {"load": asdict(point.load), "form": point.form, **figures}


def document_of(
    model: Model, fitted: Sequence[Point], held_out: Sequence[Point], far: Sequence[Point],
    wire: Wire, rows: dict[str, float], tolerance: float, utilisation: float,
) -> Document:  # fmt: skip
    """Everything that a run has found; ``rows`` are events per CPU second of the stream benchmark's engines.

    Where the far load took more CPU than predicted, sizing takes as much more.
    """
    checks = [check(model, point) for point in held_out]
    beyond = [check(model, point) for point in far]
    margins = {one["form"]: max(1.0, one["cpu_seconds"]["measured"] / one["cpu_seconds"]["predicted"]) for one in beyond}
    needs = [size(model, wire, load, form, utilisation, margins[form]) for load in SIZED for form in FORMS]
    return {
        "tolerance": tolerance,
        "utilisation": utilisation,
        "checks": checks,
        "passed": not missed(checks, tolerance),
        "far": beyond,
        "margins": margins,
        "model": model.to_json(),
        "kafka": wire.to_json(),
        "beside_stream": _beside_stream(model, rows),
        "sizing": [need.to_json() for need in needs],
        "fitted": [check(model, point) for point in fitted],
        "machine": {**environment(), "cpus": os.cpu_count()},
    }


def missed(checks: Sequence[Document], tolerance: float) -> list[str]:
    """CPU and memory that were predicted worse than the tolerance allows."""
    return [
        f"{_name(one)}: {name} predicted {one[name]['error']:+.0%} off"
        for one in checks
        for name in ("cpu_seconds", "memory_bytes")
        if name in one and abs(one[name]["error"]) > tolerance
    ]


def print_document(document: Document) -> None:
    """Tables of the model, of its checks and of what loads need."""
    model = document["model"]
    terms = [(f"reading, {name}", value * 1e6, "µs") for name, value in model["read"].items()]
    terms += [(f"closing, {name}", value * 1e6, "µs") for name, value in model["close"].items()]
    terms.append(("to another process, events", model["exchange_seconds"] * 1e6, "µs"))
    terms += [(f"Kafka, {form} events", value * 1e6, "µs") for form, value in document["kafka"]["seconds"].items()]
    terms += [(f"memory, {name}", value, "bytes") for name, value in model["memory"].items()]
    print_table(["term", "each", "unit"], [[name, f"{value:,.3f}", unit] for name, value, unit in terms])
    checks = [
        [
            _name(one) + ("" if one in document["checks"] else " (far)"),
            *(cell for name, unit in _CHECKED.items() for cell in _cells(one.get(name), unit)),
        ]
        for one in [*document["checks"], *document["far"]]
    ]
    heads = ["not fitted", "CPU s", "predicted", "error", "MiB", "predicted", "error", "MiB above base", "predicted", "error"]
    print_table(heads, checks, title=f"tolerance {document['tolerance']:.0%} of CPU and memory, not of what is far")
    beside = [
        [one["engine"], f"{one['measured']:,.2f}", f"{one['predicted']:,.2f}", f"{one['error']:+.0%}"]
        for one in document["beside_stream"]
    ]
    print_table(["stream.json, full", "µs an event", "predicted", "error"], beside)
    print_table(
        SIZING_HEADS, [sizing_row(one) for one in document["sizing"]], title=f"at {document['utilisation']:.0%} of a core"
    )


_CHECKED = {"cpu_seconds": 1.0, "memory_bytes": _MB, "above_base_bytes": _MB}  # by unit
SIZING_HEADS = ("load", "CPU s a second", "in small calls, at most", "cores", "processes", "partitions", "MiB a process")


def sizing_row(need: Document) -> list[str]:
    """A need as a row of :data:`SIZING_HEADS`."""
    processes = "more than 16" if need["processes"] is None else str(need["processes"])
    return [
        _name(need), f"{need['cpu']:.3f}", f"{need['cpu_in_small_calls']:.1f}", f"{need['cores']:.2f}", processes,
        str(need["partitions"]), f"{need['memory_bytes']['total'] / _MB:,.0f}",
    ]  # fmt: skip


def _beside_stream(model: Model, rows: dict[str, float]) -> list[Document]:
    """The stream benchmark's own load by the model: measured on another day, from its first slide on."""
    slides = [expect(_BENCHMARK, _BENCHMARK.slide_ms * (number + 1)) for number in range(_BENCHMARK_SLIDES)]
    total = sum(slides[1:], slides[0])
    found = []
    for form, engine in _BESIDE.items():
        predicted, measured = model.cpu_seconds(total, form) / total.events * 1e6, 1e6 / rows[engine]
        found.append({"engine": engine, "predicted": predicted, "measured": measured, "error": predicted / measured - 1})
    return found


def _cells(figure: Document | None, unit: float) -> list[str]:
    if figure is None:
        return ["", "", ""]
    return [f"{figure['measured'] / unit:,.1f}", f"{figure['predicted'] / unit:,.1f}", f"{figure['error']:+.0%}"]


def _name(document: Document) -> str:
    load = document["load"]
    return f"{load['rate']:,}/s, {load['slide_ms'] // 60_000} min, {document['form']}"
