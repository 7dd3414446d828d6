"""Drift detection beside the engine: its alarms belong to versions, change none of them, and survive whatever is killed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynmm_core.adapt.drift_facts import past_facts, slide_facts
from dynmm_core.adapt.pretrain import read_cut
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.metrics.drift.detectors import DETECTORS
from dynmm_core.store import LatentStore
from tests.crash.adapt_writer import go_on, hashes, make_bundle, open_engine, settings, slides

WRITER = Path(__file__).parents[1] / "crash" / "adapt_writer.py"
HOUR_MS = 3_600_000
MOVED, COUNT = 3, 9
Judged = list[tuple[int, dict[str, Any], list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("drift"))


def watched(bundle: Path, run_dir: Path, count: int = COUNT, **changes: Any) -> None:
    go_on(bundle, run_dir, count, MOVED, **{"detectors": DETECTORS, **changes})


def judged(run_dir: Path) -> Judged:
    """Slide, facts and alarms of every active version."""
    versions = LatentStore.open(run_dir / "store").active()
    return [(one.slide_end_ms, one.metrics["drift_facts"], one.metrics.get("drift_alarms", [])) for one in versions]


@pytest.fixture(scope="module")
def undisturbed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("undisturbed")
    watched(bundle, run_dir)
    return run_dir


def test_other_items_raise_alarms_soon_after_and_none_before(undisturbed: Path) -> None:
    found = judged(undisturbed)
    alarms = [alarm for _, _, alarms in found for alarm in alarms]
    assert {alarm["slide_end_ms"] for alarm in alarms} <= {end_ms for end_ms, _, _ in found[MOVED:]}
    assert ("new_items", "page_hinkley") in {(alarm["signal"], alarm["detector"]) for alarm in alarms}
    first = next(alarm for alarm in alarms if alarm["signal"] == "new_items")
    assert first["value"] == 1.0 and first["expected"] < 0.2


def test_versions_are_those_of_a_run_that_does_not_look(bundle: Path, undisturbed: Path, tmp_path: Path) -> None:
    watched(bundle, tmp_path, detectors=())
    assert hashes(tmp_path) == hashes(undisturbed)
    assert not {"drift_facts", "drift_alarms"} & set().union(*(one.metrics for one in LatentStore.open(tmp_path / "store").log()))


def test_a_run_that_starts_anew_on_the_way_raises_the_same_alarms(bundle: Path, undisturbed: Path, tmp_path: Path) -> None:
    for count in (MOVED + 2, COUNT):
        watched(bundle, tmp_path, count, journal=False)
    assert judged(tmp_path) == judged(undisturbed) and hashes(tmp_path) == hashes(undisturbed)


def test_a_run_that_is_killed_raises_the_same_alarms(bundle: Path, undisturbed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DYNMM_CRASH_AT": f"after-store-commit:{MOVED + 1}"}
    command = [sys.executable, str(WRITER), str(bundle), str(tmp_path), str(MOVED)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    assert len(judged(tmp_path)) == MOVED + 1
    watched(bundle, tmp_path)
    assert judged(tmp_path) == judged(undisturbed)


def test_what_a_rollback_took_away_is_judged_no_more(bundle: Path, undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    store = LatentStore.open(tmp_path / "store")
    store.rollback(MOVED + 1)
    watched(bundle, tmp_path)
    assert judged(tmp_path) == judged(undisturbed)
    store.rollback(MOVED - 1, skip=True)
    watched(bundle, tmp_path, COUNT + 1)
    assert judged(tmp_path)[:-1] == judged(undisturbed)[:MOVED]
    assert judged(tmp_path)[-1][1]["overlap"] > 0 and judged(tmp_path)[-1][2] == []


def test_a_run_may_begin_to_look_and_cease_to(bundle: Path, tmp_path: Path) -> None:
    watched(bundle, tmp_path, 1, detectors=())
    watched(bundle, tmp_path, 2)
    watched(bundle, tmp_path, 3, detectors=())
    looked = ["drift_facts" in one.metrics for one in LatentStore.open(tmp_path / "store").log()]
    assert looked == [False, True, False]


def test_the_week_before_the_cut_says_what_the_running_counts_say(bundle: Path, tmp_path: Path) -> None:
    """The same slide, once as the past of a later one and once as the slide that comes next."""
    cut, _ = read_cut(PreparedLog.open(bundle.parent / "data"))
    engine = open_engine(settings(bundle, tmp_path))
    first = next(slides(bundle))
    loop = engine._start(first.slide_start_ms)
    facts = list(past_facts(cut, first.slide_start_ms, HOUR_MS))
    assert [one.start_ms for one in facts] == sorted({one.start_ms for one in facts})
    assert facts[0].start_ms >= first.slide_start_ms - 168 * HOUR_MS and facts[-1].end_ms == first.slide_start_ms
    behind = list(past_facts(cut, first.slide_start_ms - HOUR_MS, HOUR_MS))
    assert behind == facts[: len(behind)]
    now = slide_facts(engine._index(first), loop.activity, HOUR_MS)
    times = cut.event_time_ms
    inside = (times >= first.slide_start_ms - 24 * HOUR_MS) & (times < first.slide_start_ms)
    day = np.bincount(cut.item_idx[inside])
    counts = np.array(first.counts["events"])
    assert now.events == counts.sum() == now.seen
    repeats = (day * (day - 1)).sum() / (inside.sum() * (inside.sum() - 1))
    assert now.full_overlap == pytest.approx(now.events * repeats)
