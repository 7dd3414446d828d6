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
@pytest.mark.parametrize("point", ["between-chunks:40", "before-end-marker:25", "after-tails-file:4"])
def test_summarize_killed_at_a_point_sends_the_same_slides(
    undisturbed: Undisturbed, tmp_path: Path, point: str, times: int
) -> None:  # fmt: skip
    run = undisturbed.live.beside(tmp_path)
    name, _, passing = point.partition(":")
    run.flow("summarize", "--drain", status=KILLED, DYNMM_CRASH_AT=f"{name}:{int(passing) * times}")
    assert len(run.summaries()) < len(undisturbed.summaries)
    counted = run.flow("summarize", "--drain")["accounting"]
    assert run.summaries() == undisturbed.summaries
    assert {name: counted[name] for name in counted if name != "pending"} == {
        name: getattr(undisturbed.log.expected, name) for name in counted if name != "pending"
    }


def test_summarize_killed_while_it_recovers_sends_the_same_slides(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = undisturbed.live.beside(tmp_path)
    run.flow("summarize", "--drain", status=KILLED, DYNMM_CRASH_AT="before-end-marker:60")
    run.flow("summarize", "--drain", status=KILLED, DYNMM_CRASH_AT="during-resume:7")
    run.flow("summarize", "--drain")
    assert run.summaries() == undisturbed.summaries


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("point", ["before-state-file", "after-state-file", "after-store-commit", "after-announcement"])
def test_adapt_killed_at_a_point_commits_the_same_versions(
    undisturbed: Undisturbed, tmp_path: Path, point: str, times: int
) -> None:  # fmt: skip
    run = reading(undisturbed, tmp_path)
    run.flow("adapt", status=KILLED, DYNMM_CRASH_AT=f"{point}:{5 * times}")
    assert run.versions() == undisturbed.versions[: 5 * times - (point in ("before-state-file", "after-state-file"))]
    run.flow("adapt")
    assert run.versions() == undisturbed.versions
    assert set(announced(run)) == set(undisturbed.versions)


def test_adapt_killed_while_it_recovers_commits_the_same_versions(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run = reading(undisturbed, tmp_path)
    run.flow("adapt", status=KILLED, DYNMM_CRASH_AT="after-store-commit:9")
    run.flow("adapt", status=KILLED, DYNMM_CRASH_AT="during-recovery:4")
    run.flow("adapt")
    assert run.versions() == undisturbed.versions


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
