"""Killed at any named point and started again, a flow leaves what an undisturbed one leaves: nothing lost, nothing twice."""

import json
import os
from pathlib import Path

import pytest
from live_run import LiveRun

from tests.crash.undisturbed import Undisturbed

TIMES = range(1, 1 + (3 if os.environ.get("DYNMM_SOAK") else 1))
KILLED = -9


@pytest.mark.parametrize("times", TIMES)
def test_summarize_killed_at_every_point_in_turn_sends_the_same_slides(
    undisturbed: Undisturbed, tmp_path: Path, times: int
) -> None:  # fmt: skip
    run = undisturbed.live.beside(tmp_path)
    for point, passing in [("between-chunks", 13), ("after-tails-file", 2), ("before-end-marker", 20), ("during-resume", 2)]:
        run.flow("summarize", "--drain", status=KILLED, DYNMM_CRASH_AT=f"{point}:{passing * times}")
        assert len(run.summaries()) < len(undisturbed.summaries)
    counted = run.flow("summarize", "--drain")["accounting"]
    assert run.summaries() == undisturbed.summaries
    assert {name: counted[name] for name in counted if name != "pending"} == {
        name: getattr(undisturbed.log.expected, name) for name in counted if name != "pending"
    }


@pytest.mark.parametrize("times", TIMES)
def test_adapt_killed_at_every_point_in_turn_commits_the_same_versions(
    undisturbed: Undisturbed, tmp_path: Path, times: int
) -> None:  # fmt: skip
    run, made = reading(undisturbed, tmp_path), 0
    points = ["before-state-file", "after-state-file", "after-store-commit", "after-announcement"]
    for k, point in enumerate(points):
        passing = 2 + (times + k) % 2
        run.flow("adapt", status=KILLED, DYNMM_CRASH_AT=f"{point}:{passing}")
        made += passing - (point in ("before-state-file", "after-state-file"))
        assert run.versions() == undisturbed.versions[:made]
    run.flow("adapt", status=KILLED, DYNMM_CRASH_AT=f"during-recovery:{times}")
    assert run.versions() == undisturbed.versions[:made]
    run.flow("adapt")
    assert run.versions() == undisturbed.versions
    assert set(announced(run)) == set(undisturbed.versions)


def test_both_in_one_killed_twice_commit_the_same_versions(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = undisturbed.live.beside(tmp_path)
    run.flow("all", "--drain", status=KILLED, DYNMM_CRASH_AT="after-store-commit:4")
    run.flow("all", "--drain", status=KILLED, DYNMM_CRASH_AT="after-tails-file:4")
    run.flow("all", "--drain")
    assert run.versions() == undisturbed.versions


@pytest.mark.parametrize("bug", ["skip-commit:4", "double-commit:4"])
def test_a_commit_left_out_or_made_twice_is_found_by_this_very_comparison(
    undisturbed: Undisturbed, tmp_path: Path, bug: str
) -> None:  # fmt: skip
    run = reading(undisturbed, tmp_path)
    process = run.start("adapt", DYNMM_SEEDED_BUG=bug)
    process.communicate(timeout=90)
    assert run.versions() != undisturbed.versions


def reading(undisturbed: Undisturbed, folder: Path) -> LiveRun:
    """A run that reads the summaries of the undisturbed one into a store of its own."""
    run = undisturbed.live.beside(folder)
    run.summaries_topic = undisturbed.live.settings.summaries
    return run


def announced(run: LiveRun) -> list[tuple[int, str]]:
    found = [json.loads(value) for _, value in run.read(run.settings.versions)]
    return [(one["slide_end_ms"], one["content_hash"]) for one in found]
