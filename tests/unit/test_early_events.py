"""Events older than the bundle, from a device whose clock is wrong: a slide of misses, and the run goes on."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dynmm_core.adapt.engine import open_engine
from dynmm_core.adapt.settings import DEFAULT_MODELS
from dynmm_core.metrics.drift.detectors import DETECTORS
from dynmm_core.windows.slides import Slide
from tests.counting import counts_of
from tests.crash.adapt_writer import go_on, hashes, make_bundle, settings, slides
from tests.replay.tiny import HOUR_MS

EARLY = [("u1", "i1"), ("u1", "i2"), ("u2", "i1"), ("nobody", "new")]  # of 1970


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("early"))


def early_slide() -> Slide:
    users, items = zip(*EARLY, strict=True)
    times = np.arange(len(EARLY)) * 60_000
    ids = [f"early-{row}" for row in range(len(EARLY))]
    table = pa.table({"event_time_ms": times, "event_id": ids, "user_id": list(users), "item_id": list(items)})
    return Slide(0, HOUR_MS, table, counts_of(table), 0, len(EARLY), {"row": 0})


@pytest.mark.parametrize("changes", [{}, {"history": "version"}, {"models": DEFAULT_MODELS, "detectors": DETECTORS}], ids=str)
def test_a_run_whose_first_event_is_older_than_the_bundle_misses_it_and_goes_on(
    bundle: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:  # fmt: skip
    engine = open_engine(settings(bundle, tmp_path, **changes))
    report = engine.on_slide(early_slide())
    overall = [row.to_json() for row in report.windows if row.stratum == "all"]
    assert [row[3] for row in overall] == [len(EARLY)] * len(engine.settings.models)
    assert not any(value for row in overall for value in row[4:-1])
    assert not report.absorbed and not report.update_rejected
    for slide in islice(slides(bundle), 2):
        found = [row.to_json() for row in engine.on_slide(slide).windows if row.stratum == "all"]
        assert all(row[4] > 0 for row in found)


def test_a_restart_behind_such_an_event_goes_on(bundle: Path, tmp_path: Path) -> None:
    open_engine(settings(bundle, tmp_path)).on_slide(early_slide())
    go_on(bundle, tmp_path, 2)
    assert len(hashes(tmp_path)) == 3
