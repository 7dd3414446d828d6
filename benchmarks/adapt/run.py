"""Slides of one size, measured: medians by stage behind a warm-up, and a digest of all that came out."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import get_args

import torch

from benchmarks.adapt.clock import StageClock
from benchmarks.adapt.floor import copy_bandwidth, floor_bytes
from benchmarks.adapt.job import Case, Committer, new_loop
from benchmarks.adapt.peaks import Peaks
from dynmm_core.adapt.laps import Stage
from dynmm_core.adapt.loop import AdaptLoop
from dynmm_core.adapt.published import refreshed
from dynmm_core.model.features import ITEM_SUMMARY_DIM

WARMING_SLIDES, WHOLE_REFRESHES = 2, 5
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Measured:
    """Medians over the slides of one size.

    seconds, slide_seconds: by stage, per thousand events and per slide; active: items refreshed; rows: of a commit;
    whole_seconds: of a refresh of every item; bytes_per_second: of a copy; floors: bytes that a slide must move, by stage,
    "whole" of that refresh; peak_mb: the most memory of each of PARTS;
    digest: of result rows and learned weights, equal where nothing but speed has changed.
    """

    case: Case
    seconds: dict[Stage, float]
    slide_seconds: float
    events: float
    active: float
    rows: float
    whole_seconds: float
    bytes_per_second: float
    floors: dict[str, float]
    peak_mb: dict[str, float | None]
    digest: str


def measure(case: Case, seed: int, tick: Callable[[], None]) -> Measured:
    """Step through the slides of ``case`` and take the time of every stage; ``tick`` is called after each slide."""
    peaks = Peaks(case.device)
    loop, every = new_loop(case, seed)
    peaks.end("loading")
    clock = StageClock(case.device)
    digest, found = hashlib.sha256(), []
    with tempfile.TemporaryDirectory() as folder:
        committer = Committer(loop, case, Path(folder))
        loop.lap = clock.lap
        for slide in every:
            clock.start()
            result = loop.step(slide)
            rows = committer.commit(slide)
            found.append((dict(clock.seconds), len(slide.item_idx), int(loop.activity.active.sum()), rows))
            digest.update(repr([row.to_json() for row in result.windows]).encode())
            tick()
    for name, content in sorted(loop.learners.to_bytes().items()):
        digest.update(name.encode() + content)
    peaks.end("slides")
    counted = found[WARMING_SLIDES:]
    seconds = {stage: median(1e3 * times.get(stage, 0.0) / events for times, events, *_ in counted) for stage in STAGES}
    sizes = [median(column) for column in list(zip(*counted, strict=True))[1:]]
    floors = {**floor_bytes(loop, *sizes), "whole": floor_bytes(loop, 0, loop.num_items + 1, 0)["refresh"]}
    whole = _whole_refresh(loop, clock)
    peaks.end("refresh of every item")
    return Measured(
        case, seconds, median(sum(times.values()) for times, *_ in counted), *sizes, whole, copy_bandwidth(case.device), floors,
        peaks.found, digest.hexdigest(),
    )  # fmt: skip


def _whole_refresh(loop: AdaptLoop, clock: StageClock) -> float:
    """Seconds of a refresh of every item, a median behind one that nobody times."""
    e_cf, z_base = loop.base.item_tables(loop.num_items)
    rows = torch.arange(len(z_base), device=loop.base.device)
    summaries = torch.zeros(len(rows), ITEM_SUMMARY_DIM, device=loop.base.device)
    seconds = []
    for _ in range(1 + WHOLE_REFRESHES):
        clock.start()
        refreshed(loop.learners.adapter.serving, z_base, e_cf, rows, summaries)
        clock.lap("refresh")
        seconds.append(clock.seconds["refresh"])
    return median(seconds[1:])
