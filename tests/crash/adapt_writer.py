"""A small adapt engine over the tiny stream's slides; as a program it goes on with a run folder, and is meant to be killed."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dynmm_core.adapt.engine import AdaptEngine, open_engine
from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.metrics.drift.detectors import DETECTORS
from dynmm_core.windows.slides import Slide
from tests.counting import counts_of
from tests.replay.tiny import HOUR_MS, bundle_tiny, prepare_tiny, tiny_events

SLIDES = 12


def make_bundle(folder: Path) -> Path:
    """Prepare the tiny stream and train a base for it; return the bundle's folder."""
    bundle_tiny(prepare_tiny(folder, tiny_events()), folder / "bundle", epochs=1)
    return folder / "bundle"


def slides(bundle: Path, count: int = SLIDES, moved_from: int | None = None) -> Iterator[Slide]:
    """Yield the first slides behind the bundle's cut, each with the place behind it as its resume document.

    From slide number ``moved_from`` on, items have other ids.
    """
    events, start = tiny_events(), PreparedLog.open(bundle.parent / "data").cut_row
    times = events["timestamp"]
    hours = times // HOUR_MS
    for number, hour in enumerate(np.unique(hours[start:])[:count].tolist()):
        rows = start + np.flatnonzero(hours[start:] == hour)
        prefix = "i" if moved_from is None or number < moved_from else "moved "
        table = pa.table({
            "event_time_ms": times[rows],
            "event_id": [f"{row:09}" for row in rows],
            "user_id": [f"u{user}" for user in events["user_id"][rows]],
            "item_id": [f"{prefix}{item}" for item in events["item_id"][rows]],
        })  # fmt: skip
        counts = counts_of(table)
        end_ms = (hour + 1) * HOUR_MS
        yield Slide(end_ms - HOUR_MS, end_ms, table, counts, 0, len(rows), {"row": int(rows[-1]) + 1})


def settings(bundle: Path, run_dir: Path, **changes: Any) -> AdaptSettings:
    """Return the settings of a quick run with a journal, which looks for no drift unless asked to."""
    fields = {"config_hash": "test", "threads": 1, "store_every": 3, "journal": True, "detectors": ()} | changes
    return AdaptSettings(bundle=bundle, run_dir=run_dir, **fields)


def go_on(
    bundle: Path, run_dir: Path, count: int = SLIDES, moved_from: int | None = None, **changes: Any
) -> AdaptEngine:  # fmt: skip
    """Open the run and take in what lies behind its last slide, as a live flow does; all of it where there is no journal."""
    engine = open_engine(settings(bundle, run_dir, **changes))
    through_ms = engine.through_ms if engine.settings.journal else None
    for slide in slides(bundle, count, moved_from):
        if through_ms is None or slide.slide_end_ms > through_ms:
            engine.on_slide(slide)
    return engine


def hashes(run_dir: Path) -> list[str]:
    """Return the content hashes of the run's versions."""
    from dynmm_core.store import LatentStore

    return [version.content_hash for version in LatentStore.open(run_dir / "store").log()]


if __name__ == "__main__":
    drifting = {"moved_from": int(sys.argv[3]), "detectors": DETECTORS} if len(sys.argv) > 3 else {}
    go_on(Path(sys.argv[1]), Path(sys.argv[2]), **drifting)
