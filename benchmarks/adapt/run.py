"""Slides of one size, measured: medians by stage behind a warm-up, and a digest of all that came out."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import get_args

from benchmarks.adapt.clock import StageClock
from benchmarks.adapt.job import Case, Committer, new_loop
from dynmm_core.adapt.laps import Stage

WARMING_SLIDES = 2
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Measured:
    """Medians over the slides of one size.

    seconds, slide_seconds: by stage, per thousand events and per slide; active: items refreshed; rows: of a commit;
    digest: of result rows and learned weights, equal where nothing but speed has changed.
    """

    case: Case
    seconds: dict[Stage, float]
    slide_seconds: float
    events: float
    active: float
    rows: float
    digest: str


def measure(case: Case, seed: int, tick: Callable[[], None]) -> Measured:
    """Step through the slides of ``case`` and take the time of every stage; ``tick`` is called after each slide."""
    loop, every = new_loop(case, seed)
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
    counted = found[WARMING_SLIDES:]
    seconds = {stage: median(1e3 * times.get(stage, 0.0) / events for times, events, *_ in counted) for stage in STAGES}
    _, events, active, rows_of = zip(*counted, strict=True)
    return Measured(
        case, seconds, median(sum(times.values()) for times, *_ in counted), median(events), median(active),
        median(rows_of), digest.hexdigest(),
    )  # fmt: skip
