"""The document of a run: seconds by stage and size, the bounds, the machine; and its table."""

import os
import platform
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.adapt.peaks import PARTS
from benchmarks.adapt.run import STAGES, Measured
from benchmarks.check import Check
from dynmm_core.console import print_table
from replay.config import environment

BOUND_ITEMS = 50_000
BOUNDS = {("features", "update", "refresh"): 0.5, ("user states",): 1.5, ("ranking",): 0.5}
FLAT = 1.5  # the most that refreshing an active item may cost in the largest catalogue, as a multiple of the smallest
UNMEASURED = "unmeasured"
_FLOORED = {"update": "update of a slide", "refresh": "refresh of a slide", "commit": "commit of a slide",
            "whole": "refresh of every item"}  # fmt: skip
Document = dict[str, Any]


def checks(measured: Sequence[Measured]) -> list[Check]:
    """What is required: seconds per thousand events at 50 thousand items, and a refresh that does not know the catalogue."""
    at = next((one for one in measured if one.case.shape.items == BOUND_ITEMS), None)
    found = [
        Check(f"{' + '.join(stages)}, s per thousand events", at and sum(at.seconds[one] for one in stages), bound, most=True)
        for stages, bound in BOUNDS.items()
    ]
    ratio = _refresh_of_an_item(measured[-1]) / _refresh_of_an_item(measured[0]) if len(measured) > 1 else None
    return [*found, Check("refresh of an active item, largest catalogue / smallest", ratio, FLAT, most=True)]


def _refresh_of_an_item(one: Measured) -> float:
    return one.seconds["refresh"] * one.events / one.active


def document_of(measured: Sequence[Measured], latent_dim: int, models: Sequence[str], device: str, seed: int) -> Document:
    """Everything that a run has found; nothing measured where there is no such device."""
    return {
        "latent_dim": latent_dim,
        "models": list(models),
        "device": device,
        "clock": "wall seconds, GPU synchronised" if device.startswith("cuda") else "CPU seconds of the process, one thread",
        "cuda": "measured" if measured and device.startswith("cuda") else UNMEASURED,
        "seed": seed,
        "sizes": [_size(one) for one in measured],
        "checks": [check.to_json() for check in checks(measured)],
        "machine": {**environment(), "cpus": os.cpu_count(), "system": platform.platform(), "gpu": _gpu()},
    }


def missed(document: Document) -> list[str]:
    """Bounds that do not hold, in words."""
    return [f"{one['check']}: {one['value']} is above {one['most']}" for one in document["checks"] if one["passed"] is False]


def print_document(document: Document) -> None:
    """One line per stage, one column per size; then the bounds."""
    sizes = document["sizes"]
    if not sizes:
        print(f"{document['device']}: {UNMEASURED}, torch sees no such device here")
        return
    lines = [[stage, *(f"{size['seconds'][stage]:.3f}" for size in sizes)] for stage in STAGES]
    lines.append(["a slide, seconds", *(f"{size['slide_seconds']:.3f}" for size in sizes)])
    lines += [[name, *(f"{size[name]:,.0f}" for size in sizes)] for name in ("events", "active", "rows")]
    title = f"seconds per thousand events, d = {document['latent_dim']}, {', '.join(document['models'])} ({document['clock']})"
    print_table(["items", *(f"{size['items']:,}" for size in sizes)], lines, title=title)
    floors = [
        [_FLOORED[name], *(_floor_cell(size["floors"][name]) for size in sizes)] for name in _FLOORED
    ]  # fmt: skip
    floors.append(["copy, GB per second", *(f"{size['copy_gb_per_second']:,.1f}" for size in sizes)])
    floors += [[f"most memory, {part}, MiB", *(_peak_cell(size["peak_mb"][part]) for size in sizes)] for part in PARTS]
    print_table(["milliseconds (times the floor)", *(f"{size['items']:,}" for size in sizes)], floors)
    print(f"on a GPU: {document['cuda']}")
    verdict = {True: "yes", False: "NO", None: "not measured"}
    rows = [
        [one["check"], "" if one["value"] is None else f"{one['value']:.3f}", f"{one['most']:g}", verdict[one["passed"]]]
        for one in document["checks"]
    ]
    print_table(["required", "measured", "at most", "holds"], rows)


def _size(one: Measured) -> Document:
    return {
        "items": one.case.shape.items, "users": one.case.shape.users, "events": one.events, "active": one.active,
        "rows": one.rows, "seconds": {stage: round(value, 5) for stage, value in one.seconds.items()},
        "slide_seconds": round(one.slide_seconds, 5), "floors": {name: _floor(one, name) for name in _FLOORED},
        "copy_gb_per_second": round(one.bytes_per_second / 1e9, 1), "digest": one.digest,
        "peak_mb": {part: None if peak is None else round(peak, 1) for part, peak in one.peak_mb.items()},
    }  # fmt: skip


def _floor(one: Measured, name: str) -> Document:
    """A stage of a slide, or the whole refresh: seconds, the seconds that its bytes alone take, and the ratio."""
    seconds = {stage: value * one.events / 1e3 for stage, value in one.seconds.items()}
    measured, least = {**seconds, "whole": one.whole_seconds}[name], one.floors[name] / one.bytes_per_second  # type: ignore[dict-item]
    return {"seconds": round(measured, 6), "floor_seconds": round(least, 8), "ratio": round(measured / least, 2)}


def _floor_cell(floor: Document) -> str:
    return f"{1e3 * floor['seconds']:,.2f} ({floor['ratio']:,.1f})"


def _peak_cell(peak: float | None) -> str:
    return "not known" if peak is None else f"{peak:,.1f}"


def _gpu() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
