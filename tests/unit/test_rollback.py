"""Rollback: an older version is the head again, nothing is lost, and a run goes on from it as if it had never gone further."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynmm_core.errors import UserError
from dynmm_core.store import Draft, LatentRows, LatentStore, StateFiles, Version
from dynmm_core.store.commands import log, rollback, show
from dynmm_core.store.version import ConflictingVersion, StaleParent
from tests.crash.adapt_writer import SLIDES, go_on, make_bundle, open_engine, settings, slides

HOUR_MS = 3_600_000


def draft(store: LatentStore, hour: int, run: str = "r", **changed: Any) -> Draft:
    ids = np.array(["every", f"hour {hour}"])
    rows = LatentRows(np.array(["item"] * 2), ids, np.full((2, 2), hour, np.float32))
    state = StateFiles(store.path / "state").put({"hour": f"{run} {hour}".encode()})
    fields: dict[str, Any] = {"state": state, "keep_rows": True, "rows": rows} | changed
    return Draft(run, hour * HOUR_MS, "config", "base", **fields)


@pytest.fixture
def store(tmp_path: Path) -> LatentStore:
    """Versions 0 … 5 of hours 1 … 6."""
    made, head = LatentStore.create_or_open(tmp_path / "store", 2), None
    for hour in range(1, 7):
        head = made.commit(draft(made, hour, metrics={"resume": {"hour": hour}}), head)
    return made


def numbers(versions: list[Version]) -> list[int]:
    return [version.number for version in versions]


def test_an_older_version_is_the_head_again_and_nothing_is_lost(store: LatentStore) -> None:
    before = store.log()
    done = store.rollback(2)
    assert (done.to, done.run, done.left, done.skip) == (2, "r-r1", 5, False)
    assert (done.after_ms, done.through_ms) == (3 * HOUR_MS, 3 * HOUR_MS)
    for reader in (store, LatentStore.open(store.path)):
        assert reader.log() == before and reader.head() == before[2] == reader.newest_slide()
        assert numbers(reader.active()) == [0, 1, 2] and reader.skipped() == []
        assert reader.as_of(99 * HOUR_MS).number == 2
        assert reader.at(5).rows.ids.tolist() == ["every", *(f"hour {hour}" for hour in range(1, 7))]


def test_versions_behind_a_rollback_count_on_and_see_their_own_chain_alone(store: LatentStore) -> None:
    store.rollback(2)
    head = store.commit(draft(store, 4, "r-r1"), store.head())
    head = store.commit(draft(store, 7, "r-r1"), head)
    for reader in (store, LatentStore.open(store.path)):
        assert reader.head() == head
        assert [(v.number, v.parent) for v in reader.log()[5:]] == [(5, 4), (6, 2), (7, 6)]
        assert numbers(reader.active()) == [0, 1, 2, 6, 7]
        assert reader.at(7).rows.ids.tolist() == ["every", *(f"hour {hour}" for hour in (1, 2, 3, 4, 7))]
        assert reader.as_of(5 * HOUR_MS).number == 6
        assert [key[1] for key in reader.diff(5, 7).added] == ["hour 7"]
        assert [key[1] for key in reader.diff(5, 7).removed] == ["hour 5", "hour 6"]
        active = reader.sql("SELECT number FROM versions WHERE active ORDER BY number")["number"].to_pylist()
        assert active == [0, 1, 2, 6, 7]


def test_skipped_slides_are_recorded_and_stay_skipped(store: LatentStore) -> None:
    done = store.rollback(2, "careful", skip=True)
    assert (done.after_ms, done.through_ms) == (3 * HOUR_MS, 6 * HOUR_MS)
    assert numbers(store.skipped()) == [3, 4, 5]
    newest = store.newest_slide()
    assert newest is not None and newest.metrics["resume"] == {"hour": 6}
    with pytest.raises(ConflictingVersion, match="lies behind"):
        store.commit(draft(store, 6, "careful"), store.head())
    head = store.commit(draft(store, 7, "careful"), store.head())
    assert store.newest_slide() == head
    store.commit(draft(store, 8, "careful"), head)
    assert numbers(store.skipped()) == [3, 4, 5]
    store.rollback(6)
    assert numbers(store.skipped()) == [3, 4, 5] and numbers(store.active()) == [0, 1, 2, 6]
    store.rollback(1)
    assert store.skipped() == []


def test_a_skip_on_top_of_a_skip_and_its_taking_back(store: LatentStore) -> None:
    store.rollback(3, skip=True)
    store.rollback(1, skip=True)
    for reader in (store, LatentStore.open(store.path)):
        assert numbers(reader.skipped()) == [2, 3, 4, 5] and numbers(reader.active()) == [0, 1]
        newest = reader.newest_slide()
        assert newest is not None and newest.number == 5
    done = store.rollback(1)
    assert done.through_ms == 2 * HOUR_MS and store.skipped() == [] and store.newest_slide() == store.head()


def test_a_skip_takes_learned_and_skipped_slides_together_in_the_order_of_the_stream(store: LatentStore) -> None:
    store.rollback(2, skip=True)
    store.commit(draft(store, 7, "r-r1"), store.head())
    done = store.rollback(1, skip=True)
    assert (done.left, done.after_ms, done.through_ms) == (6, 2 * HOUR_MS, 7 * HOUR_MS)
    for reader in (store, LatentStore.open(store.path)):
        assert numbers(reader.skipped()) == [2, 3, 4, 5, 6] and reader.newest_slide() == reader.log()[6]


def test_a_second_skip_goes_as_far_as_the_first_and_tells_the_head_it_left(store: LatentStore) -> None:
    store.rollback(3, skip=True)
    done = store.rollback(1, skip=True)
    assert (done.left, done.after_ms, done.through_ms) == (3, 2 * HOUR_MS, 6 * HOUR_MS)


def test_a_skip_before_the_version_gone_back_to_is_none_of_the_new_one(store: LatentStore) -> None:
    store.rollback(2, skip=True)
    for hour in (7, 8):
        store.commit(draft(store, hour, "r-r1"), store.head())
    store.rollback(6, skip=True)
    for reader in (store, LatentStore.open(store.path)):
        assert numbers(reader.skipped()) == [3, 4, 5, 7] and numbers(reader.active()) == [0, 1, 2, 6]


def test_a_full_version_of_another_branch_hides_nothing(store: LatentStore) -> None:
    store.commit(draft(store, 7, full=True), store.head())
    store.rollback(2)
    store.commit(draft(store, 4, "r-r1"), store.head())
    for reader in (store, LatentStore.open(store.path)):
        assert reader.at(7).rows.ids.tolist() == ["every", *(f"hour {hour}" for hour in (1, 2, 3, 4))]


def test_writers_of_the_run_before_are_refused(store: LatentStore) -> None:
    old, old_head = LatentStore.open(store.path), store.head()
    assert old.head() == old_head
    store.rollback(2)
    with pytest.raises(StaleParent, match="rolled back for run r-r1; run r may not commit"):
        old.commit(draft(old, 7), old_head)
    with pytest.raises(StaleParent, match="run r may not commit"):
        old.commit(draft(old, 6), old_head)
    with pytest.raises(StaleParent, match="is version 2, not version 5"):
        old.commit(draft(old, 7, "r-r1"), old_head)
    assert store.head() == store.log()[2]


def test_a_writer_that_commits_meanwhile_wins_over_the_rollback(store: LatentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    other = LatentStore.open(store.path)
    other.log()
    head = store.commit(draft(store, 7), store.head())
    monkeypatch.setattr(other, "_read_on", lambda: None)
    with pytest.raises(StaleParent, match="stop it and roll back again"):
        other.rollback(2)
    monkeypatch.undo()
    assert other.head() == head and other.rollbacks() == []
    other.rollback(2)
    assert numbers(other.active()) == [0, 1, 2]


def test_repeating_a_commit_behind_a_rollback_changes_nothing(store: LatentStore) -> None:
    store.rollback(2)
    head = store.commit(draft(store, 4, "r-r1"), store.head())
    assert store.commit(draft(store, 4, "r-r1"), store.log()[2]) == head
    with pytest.raises(ConflictingVersion, match="other content"):
        store.commit(draft(store, 4, "r-r1", lineage={"other": 1}), head)
    assert len(store.log()) == 7


def test_names_of_runs_count_on_and_are_not_used_twice(store: LatentStore) -> None:
    assert [store.rollback(number).run for number in (4, 3)] == ["r-r1", "r-r2"]
    assert store.rollback(2, "mine").run == "mine"
    assert store.rollback(1).run == "mine-r4"
    for used in ("r", "r-r1", "mine"):
        with pytest.raises(UserError, match=f"--run: {used} has been used"):
            store.rollback(0, used)


@pytest.mark.parametrize(
    ("to", "message"),
    [(5, "5 is the head already"), (6, "6 is not in"), (-1, "-1 is not in"), (4, "4 is not in the active lineage")],
)
def test_versions_that_cannot_be_gone_back_to_are_refused(store: LatentStore, to: int, message: str) -> None:
    if to == 4:
        store.rollback(3)
        store.commit(draft(store, 7, "r-r1"), store.head())
    before = store.log(), store.rollbacks()
    with pytest.raises(UserError, match=message):
        store.rollback(to)
    assert (store.log(), store.rollbacks()) == before


def test_a_version_whose_trainer_state_is_gone_is_refused(store: LatentStore) -> None:
    states, versions = StateFiles(store.path / "state"), store.log()
    states.gc({version.state for version in versions[3:]})
    with pytest.raises(UserError, match=r"trainer state of 2 was removed.* back to version 3 \(rollback_versions\)"):
        store.rollback(2)
    head = store.commit(draft(store, 7, metrics={"serves_from": 2}), store.head())
    store.commit(draft(store, 8), head)
    with pytest.raises(UserError, match="trainer state of 2 was removed, so that 6 cannot go on"):
        store.rollback(6)
    assert store.rollback(3).to == 3


def test_the_command_says_what_it_did_and_log_marks_what_is_inactive(
    store: LatentStore, capsys: pytest.CaptureFixture[str]
) -> None:
    rollback(store.path.parent, 3, skip=True)
    said = capsys.readouterr().out
    assert said == (
        "version 3 is the head again; run r-r1 goes on behind 1970-01-01 06:00:00 UTC;"
        " slides after 1970-01-01 04:00:00 UTC are skipped\n"
    )
    log(store.path.parent)
    table = capsys.readouterr().out
    assert "(4)" in table and "(5)" in table and "(3)" not in table and table.count("inactive") == 2
    log(store.path.parent, json=True)
    assert [version["active"] for version in json.loads(capsys.readouterr().out)] == [True] * 4 + [False] * 2
    show(store.path.parent)
    assert "Version 3" in capsys.readouterr().out
    rollback(store.path.parent, 1, run="mine", json=True)
    assert json.loads(capsys.readouterr().out)["run"] == "mine"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def store_of(run_dir: Path) -> LatentStore:
    return LatentStore.open(run_dir / "store")


@pytest.mark.parametrize("changes", [{"journal": True}, {"journal": False}, {"publish_delay_ms": 9_000_000}], ids=str)
def test_learning_again_behind_a_rollback_gives_the_very_states(bundle: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    first = go_on(bundle, tmp_path, **changes).head
    before = store_of(tmp_path).log()
    store_of(tmp_path).rollback(4)
    if changes.get("journal", True):
        engine = open_engine(settings(bundle, tmp_path, **changes))
        assert engine.head == before[4] and engine.resume == before[4].metrics["resume"] and engine.run_name == "replay-r1"
    go_on(bundle, tmp_path, 8, **changes)
    engine = go_on(bundle, tmp_path, **changes)  # stopped and started once more on the way
    again = store_of(tmp_path).active()
    assert [version.state for version in again] == [version.state for version in before]
    assert [version.metrics["windows"] for version in again] == [version.metrics["windows"] for version in before]
    assert numbers(again) == [0, 1, 2, 3, 4, *range(SLIDES, 2 * SLIDES - 5)]
    assert {version.run for version in again[5:]} == {"replay-r1"}
    kept = max(version.number for version in again if version.rows_kept)
    same = next(version for version in before if version.slide_end_ms == store_of(tmp_path).get(kept).slide_end_ms)
    if same.rows_kept:
        found, expected = store_of(tmp_path).at(kept).rows, store_of(tmp_path).at(same.number).rows
        assert found.ids.tolist() == expected.ids.tolist() and np.array_equal(found.latents, expected.latents)
    assert first is not None and engine.head is not None and engine.head.content_hash != first.content_hash


def test_behind_a_skip_the_facts_are_whole_and_nothing_of_it_is_learned(bundle: Path, tmp_path: Path) -> None:
    go_on(bundle, tmp_path / "whole")
    undisturbed = store_of(tmp_path / "whole").log()
    for name, parts in (("at once", (SLIDES,)), ("in parts", (9, 10, SLIDES))):
        go_on(bundle, tmp_path / name, 8)
        store_of(tmp_path / name).rollback(4, skip=True)
        engine = open_engine(settings(bundle, tmp_path / name))
        assert engine.through_ms == undisturbed[7].slide_end_ms and engine.resume == undisturbed[7].metrics["resume"]
        assert engine.head is not None and engine.head.number == 4
        reports = [engine.on_slide(slide) for slide in slides(bundle, 8)]
        assert all(report.absorbed for report in reports)
        for count in parts:
            go_on(bundle, tmp_path / name, count)
    go_on(bundle, tmp_path / "from the log", 8, journal=False)
    store_of(tmp_path / "from the log").rollback(4, skip=True)
    go_on(bundle, tmp_path / "from the log", journal=False)
    hashes = [[version.content_hash for version in store_of(path).log()] for path in tmp_path.iterdir() if path.name != "whole"]
    assert hashes[0] == hashes[1] == hashes[2]
    later = store_of(tmp_path / "at once").active()[5:]
    assert [version.slide_end_ms for version in later] == [version.slide_end_ms for version in undisturbed[8:]]
    for found, expected in zip(later, undisturbed[8:], strict=True):
        assert found.lineage == expected.lineage and found.state != expected.state
    # Popularity and the frozen base depend on facts alone; of the first slide, on what was published before the skip, too.
    for found, expected in zip(later[1:], undisturbed[9:], strict=True):
        rows = [[row for row in version.metrics["windows"] if not row[1].startswith("adapted")] for version in (found, expected)]
        assert rows[0] == rows[1] and rows[0]


def test_states_are_kept_for_so_many_versions_and_for_what_they_serve(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynmm_core.adapt.engine.COMMITS_PER_GC", 4)
    go_on(bundle, tmp_path, rollback_versions=3, publish_delay_ms=2 * HOUR_MS)
    store, states = store_of(tmp_path), StateFiles(tmp_path / "store" / "state")
    # Removed last behind version 11: 9, 10, 11 may be gone back to, and events behind 9 may still see 7.
    assert [version.number for version in store.log() if states.has(version.state)] == [7, 8, 9, 10, 11]
    with pytest.raises(UserError, match="trainer state of 6 was removed, so that 8 cannot go on"):
        store.rollback(8)
    store.rollback(9)
    assert go_on(bundle, tmp_path, rollback_versions=3, publish_delay_ms=2 * HOUR_MS).head == store.head()
    assert store.active()[-1].state == store.log()[11].state
