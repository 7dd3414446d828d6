"""What the broker's clients and the engine add to the job, as differences between rows that `dynmm bench stream` has measured."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dynmm_core.errors import UserError

_MB = 1 << 20
_CPU_ROWS = {"json": ("dynmm kafka json", "dynmm json file"), "arrow": ("dynmm kafka arrow", "dynmm memory")}


@dataclass(frozen=True)
class Wire:
    """CPU seconds per event by form, bytes of a process, and bytes of each partition that it reads; ``sources`` names the rows.

    In Arrow unpacking the messages is part of it.
    """

    seconds: dict[str, float]
    process_bytes: float
    partition_bytes: float
    sources: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The wire as a document."""
        return asdict(self)


def read_wire(results: Path) -> Wire:
    """The wire by the folder's stream.json and stream-memory.json.

    Raises:
        UserError: a file or a row is not there.
    """
    rate = events_per_cpu_second(results)
    seconds, sources = {}, {}
    for form, (kafka, beside) in _CPU_ROWS.items():
        seconds[form] = max(0.0, 1 / _row(rate, kafka, results) - 1 / _row(rate, beside, results))
        sources[form] = f"stream.json, full, CPU per event: {kafka} minus {beside}"
    peaks = {row["engine"]: row["peak_rss_mb"] for row in _full(_read(results / "stream.json"))}
    grown: dict[int, float] = {}
    for row in _read(results / "stream-memory.json").get("memory", []):
        grown[row["partitions"]] = max(row["peak_rss_mb"], grown.get(row["partitions"], 0.0))
    if len(grown) < 2:
        raise UserError(f"--results: {results / 'stream-memory.json'} has no memory by partitions; measure it with --memory")
    few, many = min(grown), max(grown)
    partition = (grown[many] - grown[few]) / (many - few)
    sources["partition_bytes"] = f"stream-memory.json, memory: ({many} partitions minus {few}) / {many - few}"
    sources["process_bytes"] = (
        f"stream-memory.json, memory: {few} partitions without these, minus stream.json: dynmm json file, full"
    )
    process = grown[few] - few * partition - _row(peaks, "dynmm json file", results)
    return Wire(seconds, max(0.0, process) * _MB, max(0.0, partition) * _MB, sources)


def events_per_cpu_second(results: Path) -> dict[str, float]:
    """What every engine of ours did in the profile `full`."""
    return {row["engine"]: row["events_per_cpu_second"] for row in _full(_read(results / "stream.json"))}


def _full(document: dict[str, Any]) -> list[dict[str, Any]]:
    rows = document.get("rows", [])
    return [row for row in rows if row["profile"] == "full" and row["events_per_cpu_second"] and row["peak_rss_mb"]]


def _row(figures: dict[str, float], engine: str, results: Path) -> float:
    if engine not in figures:
        raise UserError(
            f"--results: {results / 'stream.json'} has no figures of {engine!r}; measure them with dynmm bench stream"
        )
    return figures[engine]


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"--results: {path} cannot be read ({error}); name the folder of dynmm bench stream's results") from error
