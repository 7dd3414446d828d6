"""The document of a run: seconds by stage and size, the bounds, the machine; and its table."""

import os
import platform
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.adapt.run import STAGES, Measured
from benchmarks.stream.report import Check
from dynmm_core.console import print_table
from replay.config import environment

BOUND_ITEMS = 50_000
BOUNDS = {("features", "update", "refresh"): 0.5, ("user states",): 1.5, ("ranking",): 0.5}
FLAT = 1.5  # the most that refreshing an active item may cost in the largest catalogue, as a multiple of the smallest
Document = dict[str, Any]


def checks(measured: Sequence[Measured]) -> list[Check]:
    """What is required: seconds per thousand events at 50 thousand items, and a refresh that does not know the catalogue."""
    at = next((one for one in measured if one.case.shape.items == BOUND_ITEMS), None)
    found = [
        Check(f"{' + '.join(stages)}, s per thousand events", at and sum(at.seconds[one] for one in stages), bound, most=True)
        for stages, bound in BOUNDS.items()
    ]
    small, large = measured[0], measured[-1]
    ratio = None if small is large else _refresh_of_an_item(large) / _refresh_of_an_item(small)
    return [*found, Check("refresh of an active item, largest catalogue / smallest", ratio, FLAT, most=True)]


def _refresh_of_an_item(one: Measured) -> float:
    return one.seconds["refresh"] * one.events / one.active


def document_of(measured: Sequence[Measured], seed: int) -> Document:
    """Everything that a run has found."""
    first = measured[0].case
    return {
        "latent_dim": first.latent_dim,
        "models": list(first.models),
        "device": str(first.device),
        "clock": "wall seconds, GPU synchronised" if first.device.type == "cuda" else "CPU seconds of the process, one thread",
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
    lines = [[stage, *(f"{size['seconds'][stage]:.3f}" for size in sizes)] for stage in STAGES]
    lines.append(["a slide, seconds", *(f"{size['slide_seconds']:.3f}" for size in sizes)])
    lines += [[name, *(f"{size[name]:,.0f}" for size in sizes)] for name in ("events", "active", "rows")]
    title = f"seconds per thousand events, d = {document['latent_dim']}, {', '.join(document['models'])} ({document['clock']})"
    print_table(["items", *(f"{size['items']:,}" for size in sizes)], lines, title=title)
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
        "slide_seconds": round(one.slide_seconds, 5), "digest": one.digest,
    }  # fmt: skip


def _gpu() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
