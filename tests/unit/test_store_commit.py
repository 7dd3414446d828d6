"""What a commit promises beyond the plain case: races, other tools at work, power cuts, drafts that make no sense."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from dynmm_core.errors import UserError
from dynmm_core.store import Draft, LatentRows, LatentStore, Version
from dynmm_core.store.durable import write_whole
from dynmm_core.store.version import ConflictingVersion, StaleParent

HOUR_MS = 3_600_000


def rows(seed: int, ids: tuple[str, ...] = ("a", "b", "c")) -> LatentRows:
    latents = np.random.default_rng(seed).normal(size=(len(ids), 3)).astype(np.float32)
    return LatentRows(np.array(["item"] * len(ids)), np.array(ids), latents)


def draft(hour: int, seed: int | None = None, **changed: Any) -> Draft:
    fields: dict[str, Any] = {"keep_rows": True, "rows": rows(hour if seed is None else seed), "run": "r"} | changed
    return Draft(slide_end_ms=hour * HOUR_MS, config_hash="config", base_hash="base", state="s", **fields)


def entries(store: LatentStore) -> list[Path]:
    return sorted((store.path / "latents" / "_delta_log").glob("*.json"))


@pytest.mark.parametrize("keep", [True, False])
def test_of_two_writers_at_the_same_moment_exactly_one_wins(tmp_path: Path, keep: bool) -> None:
    stores = [LatentStore.create_or_open(tmp_path, 3), LatentStore.open(tmp_path)]
    start = threading.Barrier(2)

    def write(writer: int, hour: int, parent: Version | None) -> Version | None:
        attempt = draft(hour, writer, run=f"run {writer}", keep_rows=keep)
        start.wait()
        try:
            return stores[writer].commit(attempt, parent)
        except StaleParent:
            return None

    with ThreadPoolExecutor(2) as pool:
        for hour in range(1, 11):
            parents = [store.head() for store in stores]
            outcomes = list(pool.map(write, (0, 1), (hour, hour), parents))
            (won,) = [outcome for outcome in outcomes if outcome is not None]
            assert LatentStore.open(tmp_path).head() == won


def test_two_writers_of_the_same_version_both_get_it(tmp_path: Path) -> None:
    first, second = LatentStore.create_or_open(tmp_path, 3), LatentStore.open(tmp_path)
    version = first.commit(draft(1), None)
    assert second.commit(draft(1), None) == version
    assert len(entries(first)) == 2


def test_a_stale_handle_cannot_commit_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fences is Delta's refusal, not our look at the head: that look is taken away here."""
    store, other = LatentStore.create_or_open(tmp_path, 3), LatentStore.open(tmp_path)
    head = store.commit(draft(1), None)
    assert other.head() == head
    store.commit(draft(3), store.commit(draft(2), head))
    monkeypatch.setattr(other, "_read_on", lambda: None)
    with pytest.raises(StaleParent, match="same time"):
        other.commit(draft(4), head)


def test_a_version_of_another_store_is_no_parent_though_it_has_the_head_s_number(tmp_path: Path) -> None:
    store, other = (LatentStore.create_or_open(tmp_path / name, 3) for name in ("a", "b"))
    head, stranger = store.commit(draft(1), None), other.commit(draft(1, seed=9), None)
    with pytest.raises(StaleParent, match="not version 0"):
        store.commit(draft(2), stranger)
    assert store.head() == head


def test_a_slide_of_an_older_run_is_not_committed_twice(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    first = store.commit(draft(5), None)
    head = store.commit(draft(6, run="another"), first)
    assert store.commit(draft(5), head) == first
    with pytest.raises(ConflictingVersion, match="version 0 with other content"):
        store.commit(draft(5, seed=99), head)
    with pytest.raises(ConflictingVersion, match="lies behind"):
        store.commit(draft(4), head)
    assert store.commit(draft(4, run="a third"), head).number == 2


def test_a_full_version_hides_all_rows_before_it(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    head = store.commit(draft(1), None)
    head = store.commit(draft(2, rows=rows(2, ("b", "d")), full=True), head)
    store.commit(draft(3, rows=rows(3, ("e",))), head)
    assert [store.at(n).rows.ids.tolist() for n in range(3)] == [["a", "b", "c"], ["b", "d"], ["b", "d", "e"]]
    found = store.diff(0, 2)
    assert (found.added, found.removed) == ([("item", "d"), ("item", "e")], [("item", "a"), ("item", "c")])
    assert [change[:2] for change in found.changed] == [("item", "b")]


def test_of_several_full_versions_the_newest_hides_all_rows_before_it(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    head = store.commit(draft(1, full=True), None)
    head = store.commit(draft(2, rows=rows(2, ("b", "d")), full=True), head)
    store.commit(draft(3, rows=rows(3, ("e",))), head)
    assert [store.at(n).rows.ids.tolist() for n in range(3)] == [["a", "b", "c"], ["b", "d"], ["b", "d", "e"]]


def test_a_kept_version_in_which_nothing_changed_has_the_view_before_it(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    nothing = LatentRows(np.array([], str), np.array([], str), np.empty((0, 3), np.float32))
    head = store.commit(draft(1, rows=nothing), None)
    assert len(store.at(0).rows.ids) == 0
    head = store.commit(draft(2), head)
    store.commit(draft(3, rows=nothing), head)
    assert np.array_equal(store.at(2).rows.latents, store.at(1).rows.latents)
    assert len(store.at(2).rows.ids) == 3
    assert store.row_file_bytes().keys() == {1}


def test_other_tools_may_rewrite_the_files_and_every_hash_still_holds(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    head = None
    for hour in (1, 2, 3):
        head = store.commit(draft(hour), head)
    table = DeltaTable(str(tmp_path / "latents"))
    assert table.optimize.compact()["numFilesRemoved"] == 3
    head = store.commit(draft(4), head)
    assert [version.number for version in LatentStore.open(tmp_path).log()] == [0, 1, 2, 3]
    for version in store.log():
        again = draft(version.number + 1, rows=store.at(version.number).rows)
        assert again.content_hash(version.parent_hash) == version.content_hash


def test_the_log_tells_other_tools_which_rows_a_file_holds(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    head = store.commit(draft(1), None)
    store.commit(draft(2, rows=rows(2, ("b", "d"))), head)
    files = pa.table(DeltaTable(str(tmp_path / "latents")).get_add_actions(flatten=True)).sort_by("num_records").to_pylist()
    assert [(file["num_records"], file["min.version"], file["max.version"]) for file in files] == [(2, 1, 1), (3, 0, 0)]
    sizes = [(tmp_path / "latents" / file["path"]).stat().st_size for file in files]
    assert sizes == [file["size_bytes"] for file in files]


def test_rows_are_on_disk_before_the_commit_that_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    steps: list[str] = []

    def noted(name: str, function: Callable[..., None]) -> Callable[..., None]:
        def step(*args: Any, **named: Any) -> None:
            steps.append(name)
            function(*args, **named)

        return step

    monkeypatch.setattr("dynmm_core.store.rows.write_whole", noted("file", write_whole))
    monkeypatch.setattr("dynmm_core.store.rows.sync", lambda path: steps.append(path.name))
    commit = noted("commit", DeltaTable.create_write_transaction)
    monkeypatch.setattr(DeltaTable, "create_write_transaction", lambda *args, **named: commit(*args, **named))
    monkeypatch.setattr("dynmm_core.store.latents.sync", lambda path: steps.append(path.name))
    store.commit(draft(1), None)
    assert steps == ["file", "latents", "commit", f"{1:020}.json", "_delta_log"]


def test_a_writer_that_dies_before_its_commit_leaves_no_version_and_no_second_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*args: object, **named: object) -> None:
        raise OSError("the disk went away")

    store = LatentStore.create_or_open(tmp_path, 3)
    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "create_write_transaction", die)
        with pytest.raises(OSError, match="went away"):
            store.commit(draft(1), None)
    assert LatentStore.open(tmp_path).head() is None
    store.commit(draft(1), None)
    assert len(list((tmp_path / "latents").glob("*.parquet"))) == 1


@pytest.mark.parametrize("left", [0, 100])
def test_a_power_cut_inside_a_commit_loses_that_commit_alone(tmp_path: Path, left: int) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    head = store.commit(draft(1), None)
    lost = store.commit(draft(2), head)
    torn = entries(store)[-1]
    torn.write_bytes(torn.read_bytes()[:left])
    if left:
        with pytest.raises(UserError, match="remove the newest file of"):
            LatentStore.open(tmp_path)
        torn.unlink()
    again = LatentStore.open(tmp_path)
    assert again.head() == head
    assert again.commit(draft(2), head).content_hash == lost.content_hash
    assert [version.number for version in LatentStore.open(tmp_path).log()] == [0, 1]


def test_a_store_that_is_read_follows_the_one_that_is_written(tmp_path: Path) -> None:
    writer, reader = LatentStore.create_or_open(tmp_path, 3), LatentStore.open(tmp_path)
    head = None
    for hour in range(1, 4):
        head = writer.commit(draft(hour, keep_rows=hour != 2, metrics={"rows": [(hour, 0.1)]}), head)
        assert reader.head() == head
        assert reader.log() == writer.log()
        assert len(reader.sql("SELECT DISTINCT version FROM latents")) == (1, 1, 2)[hour - 1]


def test_a_refused_commit_is_delta_s_own_error_underneath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = LatentStore.create_or_open(tmp_path, 3), LatentStore.open(tmp_path)
    store.commit(draft(1), None)
    with pytest.raises(StaleParent) as refused:
        other.commit(draft(1, seed=2, run="other"), None)
    assert isinstance(refused.value.__cause__, CommitFailedError)


@pytest.mark.parametrize(
    ("kinds", "ids", "latents", "message"),
    [
        (["item", "item"], ["a", "a"], np.zeros((2, 3), np.float32), "item a stands twice"),
        (["item"], ["a"], np.zeros((1, 4), np.float32), "4 floats a latent, but the store has 3"),
        (["item"], ["a"], np.zeros((1, 3)), "float64 of shape"),
        (["shop"], ["a"], np.zeros((1, 3), np.float32), "only .* are known"),
        (["item"], ["a", "b"], np.zeros((1, 3), np.float32), "1 kinds, 2 ids"),
    ],
)
def test_rows_that_make_no_sense_are_refused(
    tmp_path: Path, kinds: list[str], ids: list[str], latents: np.ndarray, message: str
) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    with pytest.raises(ValueError, match=message):
        store.commit(draft(1, rows=LatentRows(np.array(kinds), np.array(ids), latents)), None)
    assert store.head() is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_latents_that_are_not_finite_never_reach_the_store(tmp_path: Path, value: float) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    good = store.commit(draft(1), None)
    bad = np.zeros((2, 3), np.float32)
    bad[1, 2] = value
    with pytest.raises(UserError, match="user v is not finite, and 0 more; the last good version stays served"):
        store.commit(draft(2, rows=LatentRows(np.array(["user"] * 2), np.array(["u", "v"]), bad)), good)
    assert store.head() == good


def test_figures_that_are_not_numbers_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    with pytest.raises(ValueError, match="JSON"):
        store.commit(draft(1, metrics={"loss": float("nan")}), None)
    assert store.head() is None


def test_ids_that_hold_a_separator_do_not_share_a_hash() -> None:
    one, other = (draft(1, seed=0, rows=rows(0, ids)) for ids in (("a\0b", "c"), ("a", "b\0c")))
    assert one.content_hash(None) != other.content_hash(None)


@pytest.mark.parametrize("name", ["with space", "ü", "a:b"])
def test_folders_with_odd_names_hold_a_store(tmp_path: Path, name: str) -> None:
    head = LatentStore.create_or_open(tmp_path / name, 3).commit(draft(1), None)
    assert LatentStore.open(tmp_path / name).log() == [head]


@pytest.mark.parametrize("sign", ["#", "?", "%"])
def test_folders_that_delta_cannot_read_back_are_refused(tmp_path: Path, sign: str) -> None:
    with pytest.raises(UserError, match=f"has [{sign}] in its full path"):
        LatentStore.create_or_open(tmp_path / f"run {sign}2", 3)
    assert not (tmp_path / f"run {sign}2").exists()


def test_time_travel_has_no_end(tmp_path: Path) -> None:
    LatentStore.create_or_open(tmp_path, 3)
    configuration = DeltaTable(str(tmp_path / "latents")).metadata().configuration
    assert configuration["delta.enableExpiredLogCleanup"] == "false"
    assert configuration["delta.logRetentionDuration"] == "interval 36500 days"


def test_a_handle_is_reopened_and_checkpoints_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynmm_core.store.latents._COMMITS_PER_HANDLE", 5)
    store, head = LatentStore.create_or_open(tmp_path, 3), None
    for hour in range(1, 104):
        head = store.commit(draft(hour, keep_rows=hour % 50 == 0), head)
    assert (tmp_path / "latents" / "_delta_log" / "_last_checkpoint").is_file()
    again = LatentStore.open(tmp_path)
    assert again.log() == store.log() and len(again.log()) == 103
    assert again.at(99).rows.ids.tolist() == ["a", "b", "c"]
