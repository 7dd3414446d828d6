"""A run folder is begun once, resumed by its own configuration, and never overwritten."""

import time
from pathlib import Path

import pytest

from dynmm_core.errors import UserError
from replay import run_folder
from replay.config import ReplaySettings
from replay.run_folder import RunRecord, finished_run, open_run

SETTINGS = ReplaySettings(
    dataset_fingerprint="f", bundle_hash="b", split_hash="s", cut_row=7, end_time_ms=10, rank_from_ms=0, rank_to_ms=9, seed=0,
    models=("static",), history="event", publish_delay_ms=0, slide_ms=3_600_000, popularity_window_ms=900_000,
    keep_consumed=False, store_every=24, device="cpu", threads=2, adapter_lr=None, summaries=True,
)  # fmt: skip


def record(
    settings: ReplaySettings = SETTINGS, *, torch: str = "2.13", protocol: str = "default", truth: str | None = None
) -> RunRecord:
    return RunRecord(
        dataset="by-hand", protocol=protocol, config_hash=settings.config_hash, config=settings,
        environment={"torch": torch}, data="data", bundle="bundle", truth=truth,
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_new_or_empty_folder_begins_a_run(tmp_path: Path) -> None:
    for folder in (tmp_path / "deep" / "new", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        run = open_run(folder, record())
        assert not run.resumed
        assert RunRecord.model_validate_json((folder / "run.json").read_text()) == record()
        run.close()


def test_an_unfinished_run_of_the_same_configuration_is_resumed(tmp_path: Path) -> None:
    open_run(tmp_path / "run", record()).close()
    run = open_run(tmp_path / "run", record(protocol="other label"))

    assert run.resumed
    assert run.record.protocol == "default"
    run.close()


def test_a_begin_that_was_killed_before_its_first_file_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json.partial").write_text("{")
    (tmp_path / "run" / ".lock").touch()
    run = open_run(tmp_path / "run", record())
    assert not run.resumed
    run.close()


@pytest.mark.parametrize("finished", [False, True])
def test_another_configuration_is_refused_and_told_by_its_first_difference(tmp_path: Path, finished: bool) -> None:
    open_run(tmp_path / "run", record()).close()
    if finished:
        (tmp_path / "run" / "metrics.json").write_text("{}")
    before = contents(tmp_path / "run")

    with pytest.raises(UserError, match=r"holds another run \(seed 0 there, 1 asked, and 1 more\)"):
        open_run(tmp_path / "run", record(SETTINGS.model_copy(update={"seed": 1, "threads": 4})))
    assert contents(tmp_path / "run") == before


def test_a_finished_run_is_refused(tmp_path: Path) -> None:
    open_run(tmp_path / "run", record()).close()
    (tmp_path / "run" / "metrics.json").write_text("{}")
    before = contents(tmp_path / "run")

    with pytest.raises(UserError, match="finished"):
        open_run(tmp_path / "run", record())
    assert contents(tmp_path / "run") == before


def test_other_libraries_may_not_resume(tmp_path: Path) -> None:
    open_run(tmp_path / "run", record()).close()

    with pytest.raises(UserError, match=r"begun elsewhere \(torch '2.13' there, '2.14' asked"):
        open_run(tmp_path / "run", record(torch="2.14"))
    more = record().model_copy(update={"environment": {"torch": "2.13", "bytewax": "0.21.1"}})
    with pytest.raises(UserError, match=r"begun elsewhere \(bytewax None there, '0.21.1' asked\)"):
        open_run(tmp_path / "run", more)


def test_another_truth_may_not_resume(tmp_path: Path) -> None:
    open_run(tmp_path / "run", record(truth="a" * 64)).close()

    for other, asked in (("b" * 64, f"truth {'b' * 16}"), (None, "no truth")):
        with pytest.raises(UserError, match=f"begun with truth {'a' * 16}, {asked} is asked"):
            open_run(tmp_path / "run", record(truth=other))


def test_a_run_without_metrics_is_not_finished(tmp_path: Path) -> None:
    open_run(tmp_path / "run", record()).close()

    with pytest.raises(UserError, match="holds no finished run"):
        finished_run(tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text('{"events": 7}')
    assert finished_run(tmp_path / "run") == (record(), {"events": 7})


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(UserError, match=r"holds files but no run\.json"):
        open_run(tmp_path, record())
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_a_file_in_the_way_and_a_broken_record_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{}")

    with pytest.raises(UserError, match="is a file"):
        open_run(tmp_path / "file", record())
    with pytest.raises(UserError, match="no run of this version"):
        open_run(tmp_path / "broken", record())


def test_two_processes_never_work_in_one_run(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", record())

    with pytest.raises(UserError, match="another process works"):
        open_run(tmp_path / "run", record())
    run.close()
    open_run(tmp_path / "run", record()).close()


def test_attempts_are_remembered(tmp_path: Path) -> None:
    begun_ms = time.time_ns() // 1_000_000
    for expected in (1, 2):
        run = open_run(tmp_path / "run", record())
        run.begin_attempt()
        starts = run.attempt_starts_ms()
        assert len(starts) == expected
        assert starts == sorted(starts)
        assert begun_ms <= starts[0] and starts[-1] <= time.time_ns() // 1_000_000
        run.close()


def test_a_run_that_another_process_finishes_before_the_lock_is_held_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lock = tmp_path / "run", run_folder._lock

    def late(path: Path) -> int:
        (path / "run.json").write_text(record(protocol="the other's").model_dump_json())
        (path / "metrics.json").write_text("{}")
        return lock(path)

    monkeypatch.setattr(run_folder, "_lock", late)
    with pytest.raises(UserError, match="holds this run, finished"):
        open_run(folder, record())
    assert "the other's" in (folder / "run.json").read_text()
    monkeypatch.setattr(run_folder, "_lock", lock)
    (folder / "metrics.json").unlink()
    open_run(folder, record()).close()  # the refused one left no lock behind
