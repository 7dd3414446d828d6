"""The journal's promises: a slide whole or absent, in order, whatever was killed; a restart needs nothing else."""

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dynmm_core import crash_points
from dynmm_core.adapt import journal as journal_module
from dynmm_core.adapt.journal import SlideJournal
from dynmm_core.errors import UserError
from dynmm_core.store import LatentStore
from dynmm_core.store.version import StaleParent
from dynmm_core.windows.slides import Slide
from tests.crash.adapt_writer import SLIDES, go_on, hashes, make_bundle, open_engine, settings, slides

WRITER = Path(__file__).parents[1] / "crash" / "adapt_writer.py"


def slide(number: int, text: str = "") -> Slide:
    """Slide ``number`` of one event, its ids telling it from others."""
    ids, times = pa.array([f"{text}{number}"]), pa.array([number * 10 + 1], pa.int64())
    events = pa.table({"event_time_ms": times, "event_id": ids, "user_id": ids, "item_id": ids, "rating": pa.array([1.0])})
    one = pa.array([1], pa.int64())
    counts = pa.table({"item_id": ids, "pane_start_ms": times, "events": one, "users": one})
    return Slide(number * 10, number * 10 + 10, events, counts, 2, 7, {"offsets": {"0": number}}, ((0, number, number * 10),))


def told(journal: SlideJournal, through: int) -> list[str]:
    """The item ids of the slides up to slide ``through``."""
    return [found.events["item_id"][0].as_py() for found in journal.read(through * 10 + 10)]


def names(*numbers: int, text: str = "") -> list[str]:
    return [f"{text}{number}" for number in numbers]


@pytest.fixture(autouse=True)
def _few_entries_per_file(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_ENTRIES_PER_FILE", 4)


def filled(folder: Path, count: int) -> SlideJournal:
    journal = SlideJournal(folder)
    journal.begin(None)
    for number in range(1, count + 1):
        journal.append(slide(number))
    return journal


def test_context_is_kept_where_a_slide_has_it(tmp_path: Path) -> None:
    journal = SlideJournal(tmp_path, ("region", "device"))
    journal.begin(None)
    written = slide(1)
    regions = pa.array(["süd"])
    for number, events in ((1, written.events), (2, written.events.append_column("region", regions))):
        journal.append(replace(written, slide_end_ms=10 * number, events=events))
    first, second = (found.events for found in SlideJournal(tmp_path).read(20))
    assert first.column_names == ["user_id", "item_id", "event_time_ms"]
    assert second.column_names == [*first.column_names, "region"] and second["region"].to_pylist() == ["süd"]


def test_a_slide_comes_back_as_it_was_written(tmp_path: Path) -> None:
    (found,) = filled(tmp_path, 1).read(20)
    written = slide(1)
    assert found.events.equals(written.events.select(["user_id", "item_id", "event_time_ms"]))
    assert found.counts.equals(written.counts)
    plain = replace(written, events=None, counts=None)
    assert replace(found, events=None, counts=None) == plain


def test_a_slide_without_events_comes_back(tmp_path: Path) -> None:
    journal = SlideJournal(tmp_path)
    journal.begin(None)
    empty = slide(1)
    journal.append(replace(empty, events=empty.events.slice(0, 0), counts=empty.counts.slice(0, 0), resume=None, idle_cuts=()))
    (found,) = journal.read(20)
    assert (found.events.num_rows, found.counts.num_rows, found.resume, found.idle_cuts) == (0, 0, None, ())


def test_many_slides_take_few_files_and_come_in_order(tmp_path: Path) -> None:
    filled(tmp_path, 14)
    assert len(list(tmp_path.iterdir())) == 3 + 2
    assert told(SlideJournal(tmp_path), 14) == names(*range(1, 15))
    assert told(SlideJournal(tmp_path), 6) == names(*range(1, 7))
    assert told(SlideJournal(tmp_path / "none"), 6) == []


@pytest.mark.parametrize("through", [0, 1, 3, 4, 5, 9, 10])
def test_what_lies_behind_the_head_is_ignored_and_overwritten(tmp_path: Path, through: int) -> None:
    filled(tmp_path, 10)
    journal = SlideJournal(tmp_path)
    assert told(journal, through) == names(*range(1, through + 1))
    journal.begin(through * 10 + 10)
    assert told(journal, 99) == names(*range(1, through + 1))
    for number in range(through + 2, through + 12):
        journal.append(slide(number, "again "))
    expected = [*names(*range(1, through + 1)), *names(*range(through + 2, through + 12), text="again ")]
    assert told(SlideJournal(tmp_path), 99) == expected


def test_a_process_that_dies_at_any_file_loses_no_committed_slide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever rename or removal a merge, a cut or a clean-up gets to, the next process reads what was committed."""

    class Died(Exception):
        pass

    real_replace, real_unlink = Path.replace, Path.unlink

    def attempt(folder: Path, survives: int) -> bool:
        left = survives

        def step() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Died

        def unlink(self: Path, missing_ok: bool = False) -> None:
            if left < 0:
                return  # dead processes clean nothing up
            step()
            real_unlink(self, missing_ok)

        committed = 7 * 10 + 10
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda self, target: (step(), real_replace(self, target))[1])
            patch.setattr(Path, "unlink", unlink)
            try:
                journal = SlideJournal(folder)
                journal.begin(committed)
                for number in range(8, 14):
                    journal.append(slide(number, "again "))
                    committed = number * 10 + 10
                ended = True
            except Died:
                ended = False
        done = committed // 10 - 1
        expected = [*names(*range(1, 8)), *names(*range(8, done + 1), text="again ")]
        assert told(SlideJournal(folder), done) == expected
        journal = SlideJournal(folder)
        journal.begin(committed)
        for number in range(done + 1, 18):
            journal.append(slide(number, "again "))
        assert told(SlideJournal(folder), 17) == [*names(*range(1, 8)), *names(*range(8, 18), text="again ")]
        return ended

    for survives in range(100):
        folder = tmp_path / str(survives)
        filled(folder, 10)
        assert (folder / "60-90.arrow").is_file()  # it reaches past the head, slide 7, and is cut
        if attempt(folder, survives):
            assert survives > 12  # a cut, a clean-up and a merge were among the steps
            return
    pytest.fail("the journal never came to an end")


def test_a_missing_and_a_damaged_entry_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    journal = filled(tmp_path, 3)
    path = tmp_path / "30.arrow"  # slide 2
    whole = path.read_bytes()
    noticed = silent = 0
    for place in rng.integers(0, len(whole), 150):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.integers(8))]) + whole[place + 1 :])
        try:
            found = told(journal, 3)
        except UserError as error:
            noticed += str(path) in str(error) and "\n" not in str(error)
        else:
            # A flipped bit of padding says nothing; one in the file's table of contents may lose the entry.
            assert found in (names(1, 2, 3), names(1, 3))
            silent += 1
    assert noticed + silent == 150 and noticed > 75
    path.write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"journal: .*30\.arrow cannot be read"):
        told(journal, 3)


def test_a_full_disk_is_told_and_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = filled(tmp_path, 5)
    before = sorted(tmp_path.iterdir())

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"^disk: .*70\.arrow.*no space left; free space and start again, nothing is lost"):
            journal.append(slide(6))
    assert sorted(tmp_path.iterdir()) == before
    journal.append(slide(6))
    assert told(SlideJournal(tmp_path), 6) == names(*range(1, 7))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def undisturbed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Hashes of a run without a journal, which no test touches."""
    run_dir = tmp_path_factory.mktemp("undisturbed")
    go_on(bundle, run_dir, journal=False)
    return hashes(run_dir)


def test_with_and_without_a_journal_the_versions_are_the_same(bundle: Path, undisturbed: list[str], tmp_path: Path) -> None:
    go_on(bundle, tmp_path)
    assert hashes(tmp_path) == undisturbed and len(undisturbed) == SLIDES


def test_a_restart_before_every_slide_needs_no_earlier_one(bundle: Path, undisturbed: list[str], tmp_path: Path) -> None:
    for slide_here in slides(bundle):
        engine = open_engine(settings(bundle, tmp_path))
        report = engine.on_slide(slide_here)
        assert not report.absorbed
        assert engine.resume == slide_here.resume and engine.through_ms == slide_here.slide_end_ms
    assert hashes(tmp_path) == undisturbed
    again = open_engine(settings(bundle, tmp_path))
    assert again.head == engine.head and again.resume == engine.resume and again.through_ms == engine.through_ms


@pytest.mark.parametrize("changes", [{"publish_delay_ms": 9_000_000}, {"publish_delay_ms": 2_400_000, "history": "version"}])
def test_delayed_versions_and_version_histories_are_restored(bundle: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    engine = go_on(bundle, tmp_path / "whole", **changes)
    go_on(bundle, tmp_path / "parts", 5, **changes)
    resumed = go_on(bundle, tmp_path / "parts", **changes)
    assert hashes(tmp_path / "parts") == hashes(tmp_path / "whole")
    assert engine.head is not None and resumed.head is not None
    mine, theirs = ({**one.head.metrics, "update_cpu_seconds": None, "rank_cpu_seconds": None} for one in (resumed, engine))
    assert mine == theirs


def test_slides_that_come_again_are_dropped_and_others_refused(bundle: Path, undisturbed: list[str], tmp_path: Path) -> None:
    go_on(bundle, tmp_path, 5)
    engine = open_engine(settings(bundle, tmp_path))
    reports = [engine.on_slide(known) for known in slides(bundle)]
    assert [report.absorbed for report in reports] == [True] * 5 + [False] * (SLIDES - 5)
    assert hashes(tmp_path) == undisturbed == [report.content_hash for report in reports]
    third = list(slides(bundle, 3))[2]
    users = pa.array([f"new {row}" for row in range(third.events.num_rows)])
    other = replace(third, events=third.events.set_column(2, "user_id", users))
    with pytest.raises(UserError, match="version 2 of other events"):
        engine.on_slide(other)
    with pytest.raises(UserError, match="has no version"):
        engine.on_slide(replace(third, slide_end_ms=third.slide_end_ms - 1))


def test_a_lost_entry_stops_the_restart_by_name(bundle: Path, tmp_path: Path) -> None:
    go_on(bundle, tmp_path, 3)
    entry = sorted((tmp_path / "journal").iterdir())[-1]
    entry.unlink()
    with pytest.raises(UserError, match=rf"journal: .*{entry.name} is missing; .*start a new one"):
        open_engine(settings(bundle, tmp_path))


def test_a_run_begun_without_a_journal_cannot_take_one_up(bundle: Path, tmp_path: Path) -> None:
    go_on(bundle, tmp_path, 2, journal=False)
    with pytest.raises(UserError, match=r"journal: .* is missing"):
        open_engine(settings(bundle, tmp_path))


def test_a_second_process_leaves_the_first_one_s_journal_alone(bundle: Path, undisturbed: list[str], tmp_path: Path) -> None:
    second = open_engine(settings(bundle, tmp_path))
    go_on(bundle, tmp_path, 5)
    with pytest.raises(StaleParent, match="end one of the two"):
        second.on_slide(next(slides(bundle)))
    go_on(bundle, tmp_path)
    assert hashes(tmp_path) == undisturbed


def test_a_second_process_that_would_commit_the_same_is_refused_while_the_first_lives(bundle: Path, tmp_path: Path) -> None:
    first, second = open_engine(settings(bundle, tmp_path)), open_engine(settings(bundle, tmp_path))
    slide, after, *_ = slides(bundle)
    first.on_slide(slide)
    with pytest.raises(UserError, match=f"journal: another process writes to {tmp_path}; end one of the two"):
        second.on_slide(slide)
    assert open_engine(settings(bundle, tmp_path)).head == first.head  # reading is free
    first.on_slide(after)
    del first
    go_on(bundle, tmp_path, 3)
    assert len(hashes(tmp_path)) == 3


def test_what_shaped_a_slide_stands_in_its_version(bundle: Path, tmp_path: Path) -> None:
    first, second, *_ = slides(bundle)
    engine = open_engine(settings(bundle, tmp_path))
    engine.on_slide(first)
    engine.on_slide(replace(second, idle_cuts=((1, 20, 30),), counted=10_000, resume=None))
    plain, special = LatentStore.open(tmp_path / "store").log()
    assert set(plain.lineage) == {"slide_hash", "events"} and plain.metrics["resume"] == first.resume
    assert special.lineage["idle_cuts"] == [[1, 20, 30]] and special.lineage["counted"] == 10_000
    assert "resume" not in special.metrics


def test_items_that_no_sample_held_yet_count_for_nobody(bundle: Path, tmp_path: Path) -> None:
    """A slide may carry all counts and a sample of its events; what is counted alone must not pass for the padding's row."""
    for sampled in slides(bundle, 4):
        rows = list(range(0, sampled.events.num_rows, 3))
        engine = open_engine(settings(bundle, tmp_path))
        alone = {"item_id": ["zz"], "pane_start_ms": [sampled.slide_end_ms - 300_000], "events": [5], "users": [3]}
        counts = pa.concat_tables([sampled.counts, pa.table(alone, schema=sampled.counts.schema)])
        engine.on_slide(replace(sampled, events=sampled.events.take(rows), counts=counts))
        activity = engine._loop.activity
        assert activity.events[0] == 0 and not activity.active[0]
        assert np.isfinite(activity.summaries).all()


def killed_at(point: str, bundle: Path, run_dir: Path) -> bool:
    """Go on with a run in a process of its own, which is to die at this point; return whether it did."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "DYNMM_CRASH_AT": point}
    return subprocess.run([sys.executable, str(WRITER), str(bundle), str(run_dir)], env=environment).returncode == -9


@pytest.mark.parametrize("point", ["before-state-file", "after-state-file", "after-store-commit", "during-recovery"])
def test_killed_at_any_point_and_resumed_equals_undisturbed(
    bundle: Path, undisturbed: list[str], tmp_path: Path, point: str
) -> None:
    go_on(bundle, tmp_path, 4)
    assert killed_at(f"{point}:2", bundle, tmp_path)
    assert len(hashes(tmp_path)) == {"during-recovery": 4, "after-store-commit": 6}.get(point, 5)
    go_on(bundle, tmp_path)
    assert hashes(tmp_path) == undisturbed


def test_a_disk_full_at_any_file_of_a_slide_is_told_and_gone_on_from(
    bundle: Path, undisturbed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left, told_times = os.fsync, 0, 0

    def fsync(handle: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    for number in range(1, SLIDES + 1):
        with monkeypatch.context() as patch:
            left = number
            patch.setattr(os, "fsync", fsync)
            try:
                go_on(bundle, tmp_path, number)
            except UserError as error:
                told_times += str(error).endswith("free space and start again, nothing is lost")
        go_on(bundle, tmp_path, number)
    assert told_times >= 8 and hashes(tmp_path) == undisturbed


@pytest.mark.parametrize("bug", ["skip-commit", "double-commit"])
def test_a_seeded_bug_shows_in_the_hashes(
    bundle: Path, undisturbed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    monkeypatch.setenv("DYNMM_SEEDED_BUG", f"{bug}:3")
    monkeypatch.setattr(crash_points, "_bug", crash_points._armed("DYNMM_SEEDED_BUG"))
    go_on(bundle, tmp_path)
    found = hashes(tmp_path)
    assert found[:2] == undisturbed[:2] and found != undisturbed
    assert len(found) - SLIDES == (-1 if bug == "skip-commit" else 1)


def test_nothing_strikes_where_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYNMM_CRASH_AT", raising=False)
    assert crash_points._armed("DYNMM_CRASH_AT") is None
    monkeypatch.setenv("DYNMM_CRASH_AT", "here:2")
    armed = crash_points._armed("DYNMM_CRASH_AT")
    assert armed is not None
    assert [armed.strikes(name) for name in ("here", "there", "here", "here")] == [False, False, True, False]
