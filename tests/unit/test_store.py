"""The store's promises: atomic, fenced, idempotent; hashes of content alone; every read at a version."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dynmm_core.adapt.rows import latent_rows
from dynmm_core.errors import UserError
from dynmm_core.store import Draft, LatentRows, LatentStore, StateFiles
from dynmm_core.store.rows import to_arrow
from dynmm_core.store.version import ConflictingVersion, StaleParent, id_column

HOUR_MS = 3_600_000


def rows(seed: int, n: int = 4, order: int = 1) -> LatentRows:
    latents = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    ids = np.array([f"i{k}" for k in range(n)])
    return LatentRows(np.array(["item"] * n)[::order], ids[::order], latents[::order])


def draft(hour: int, *, keep: bool = True, seed: int | None = None, order: int = 1, state: str = "s", run: str = "r") -> Draft:
    return Draft(run, hour * HOUR_MS, "config", "base", state, rows(hour if seed is None else seed, order=order), keep)


def fill(store: LatentStore, hours: int) -> None:
    head = store.head()
    for hour in range(1, hours + 1):
        head = store.commit(draft(hour), head)


def test_versions_count_from_zero_and_name_their_parents(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    assert store.head() is None
    fill(store, 3)
    versions = LatentStore.open(tmp_path).log()
    assert [(v.number, v.parent) for v in versions] == [(0, None), (1, 0), (2, 1)]
    assert [v.slide_end_ms for v in versions] == [HOUR_MS, 2 * HOUR_MS, 3 * HOUR_MS]
    assert [v.parent_hash for v in versions[1:]] == [v.content_hash for v in versions[:-1]]


def test_a_version_says_what_it_was_made_from_and_when(tmp_path: Path) -> None:
    begun_ms = time.time_ns() // 1_000_000
    made = LatentStore.create_or_open(tmp_path, 3).commit(draft(1), None)
    assert (made.run, made.config_hash, made.base_hash, made.state) == ("r", "config", "base", "s")
    assert (made.rows, made.rows_kept, made.full) == (4, True, False)
    assert begun_ms <= made.committed_at_ms <= time.time_ns() // 1_000_000


def test_a_commit_in_the_middle_of_a_look_is_read_once(tmp_path: Path) -> None:
    writer = LatentStore.create_or_open(tmp_path, 3)
    reader = LatentStore.open(tmp_path)
    fill(writer, 3)
    table = reader._table

    class Overtaken:
        """The reader's handle, which another version overtakes while its history is read."""

        def __getattr__(self, name: str) -> Any:
            return getattr(table, name)

        def history(self, limit: int) -> list[dict[str, Any]]:
            if (committed := writer.log())[-1].number == 2:
                writer.commit(draft(4), committed[-1])
            return table.history(limit)

    reader._table = Overtaken()  # type: ignore[assignment]
    assert [version.number for version in reader.log()] == [0, 1, 2]
    assert [version.number for version in reader.log()] == [0, 1, 2, 3]
    assert reader.log() == writer.log()


def test_equal_content_has_an_equal_hash_whatever_the_row_order_or_layout(tmp_path: Path) -> None:
    first = LatentStore.create_or_open(tmp_path / "a", 3).commit(draft(1), None)
    second = LatentStore.create_or_open(tmp_path / "b", 3).commit(draft(1, order=-1, keep=False), None)
    assert first.content_hash == second.content_hash


@pytest.mark.parametrize("changed", [{"seed": 9}, {"state": "other"}, {"run": "other"}])
def test_any_change_of_content_changes_the_hash(changed: dict[str, object]) -> None:
    assert draft(1).content_hash(None) != draft(1, **changed).content_hash(None)  # type: ignore[arg-type]
    assert draft(1).content_hash(None) != draft(1).content_hash("parent")


def test_repeating_a_commit_changes_nothing(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    fill(store, 2)
    head = store.head()
    assert store.commit(draft(2), head) == head
    assert store.commit(draft(1), head).number == 0
    assert len(store.log()) == 2


def test_the_same_slide_with_other_content_is_a_conflict(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    fill(store, 1)
    with pytest.raises(ConflictingVersion, match="other content"):
        store.commit(draft(1, seed=5), store.head())


def test_of_two_writers_one_wins(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    fill(store, 1)
    head = store.head()
    other = LatentStore.open(tmp_path)
    store.commit(draft(2), head)
    with pytest.raises(StaleParent):
        other.commit(draft(3), head)
    assert [v.slide_end_ms for v in other.log()] == [HOUR_MS, 2 * HOUR_MS]


def test_a_writer_overtaken_inside_its_commit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = LatentStore.create_or_open(tmp_path, 3), LatentStore.open(tmp_path)
    fill(store, 1)
    head = other.head()
    monkeypatch.setattr(other, "head", lambda: head)  # it looked just before the other one committed
    store.commit(draft(2), head)
    with pytest.raises(StaleParent, match="same time"):
        other.commit(draft(3, keep=False), head)


def test_a_view_holds_the_newest_row_of_every_id(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    head = store.commit(draft(1), None)
    few = LatentRows(np.array(["item"]), np.array(["i2"]), np.ones((1, 3), np.float32))
    store.commit(Draft("r", 2 * HOUR_MS, "config", "base", "s", few, True), head)
    view = store.at(1).rows
    assert view.ids.tolist() == ["i0", "i1", "i2", "i3"]
    assert view.latents[2].tolist() == [1.0, 1.0, 1.0]
    assert np.array_equal(view.latents[0], rows(1).latents[0])
    assert np.array_equal(store.at(0).rows.latents, rows(1).latents)
    assert store.diff(0, 1).added == [] and [change[:2] for change in store.diff(0, 1).changed] == [("item", "i2")]


def test_rows_that_were_not_kept_are_refused_with_the_nearest_kept(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    head = store.commit(draft(1), None)
    store.commit(draft(2, keep=False), head)
    with pytest.raises(UserError, match=r"kept nearby: \[0\]"):
        store.at(1)


def test_the_nearest_kept_rows_on_either_side_are_named(tmp_path: Path) -> None:
    store, head = LatentStore.create_or_open(tmp_path, 3), None
    for hour in range(1, 8):
        head = store.commit(draft(hour, keep=hour in (2, 4, 6)), head)
    for number, near in ((0, "[1]"), (2, "[1, 3]"), (4, "[3, 5]"), (6, "[5]")):
        with pytest.raises(UserError) as refused:
            store.at(number)
        assert str(refused.value).endswith(f"kept nearby: {near}")


def test_as_of_is_the_newest_version_at_that_time(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    fill(store, 3)
    for moment, number in ((HOUR_MS, 0), (2 * HOUR_MS - 1, 0), (2 * HOUR_MS, 1), (99 * HOUR_MS, 2)):
        assert store.as_of(moment).number == number
    with pytest.raises(UserError, match="no version"):
        store.as_of(HOUR_MS - 1)


def test_of_versions_of_one_slide_the_newest_is_found_and_one_of_an_older_slide_at_its_own_time(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    first = store.commit(draft(5), None)
    second = store.commit(draft(5, run="another"), first)
    older = store.commit(draft(4, run="a third"), second)
    assert (store.as_of(5 * HOUR_MS), store.as_of(4 * HOUR_MS)) == (second, older)


def test_ids_are_kept_to_their_last_byte_and_take_no_room_for_the_longest(tmp_path: Path) -> None:
    ids = ["i1", "i1\0", "i1\0\0", "\0", "i1\0b", "x" * 1024, *(f"n{number}" for number in range(20_000))]
    latents = np.arange(len(ids), dtype=np.float32)[:, None]
    found = LatentRows(np.array(["item"] * len(ids)), id_column(ids), latents)
    assert found.sorted().ids.tolist() == sorted(ids) and found.ids.nbytes == 8 * len(ids)
    assert to_arrow(0, found)["id"].to_pylist() == ids
    store = LatentStore.create_or_open(tmp_path, 1)
    store.commit(Draft("r", HOUR_MS, "config", "base", "s", found, True), None)
    kept = LatentStore.open(tmp_path).at(0).rows
    assert kept.ids.tolist() == sorted(ids) and kept.ids.dtype == object
    assert [ids[int(latent)] for latent in kept.latents[:, 0]] == sorted(ids)
    with pytest.raises(ValueError, match="stands twice"):
        LatentRows(np.array(["user"] * 2), id_column(["a\0", "a\0"]), latents[:2]).sorted()


def test_an_item_and_a_user_of_one_id_are_two_rows() -> None:
    both = LatentRows(np.array(["user", "item"]), id_column(["a", "a"]), np.array([[1.0], [2.0]], np.float32)).sorted()
    assert (both.kinds.tolist(), both.ids.tolist(), both.latents[:, 0].tolist()) == (["item", "user"], ["a", "a"], [2.0, 1.0])


def test_a_versions_rows_have_the_ids_of_its_items_and_users() -> None:
    base: Any = SimpleNamespace(item_latents=lambda rows: np.ones((len(rows), 2), np.float32))
    loop: Any = SimpleNamespace(
        user_latents=lambda rows: np.zeros((len(rows), 2), np.float32), lap=lambda what: None, published=[base]
    )
    found = latent_rows(loop, np.array([1, 2]), np.array([1]), ["", "i1", "i1\0"], ["", "u\0"])
    assert (found.kinds.tolist(), found.ids.tolist()) == (["item", "item", "user"], ["i1", "i1\0", "u\0"])
    assert found.sorted().ids.tolist() == ["i1", "i1\0", "u\0"]


def test_order_and_hash_of_ids_are_those_by_code_point() -> None:
    ids = ["b", "B", "é", "z", "\uffff", "\U0001f3b5", "\ud7ff", "10", "9", "a b", "日本", "\x7f"]
    latents = np.arange(len(ids), dtype=np.float32)[:, None]
    kinds = np.array(["user", "item"] * 6)
    padded = LatentRows(kinds, np.array(ids), latents)
    of_text = LatentRows(kinds, id_column(ids), latents)
    order = np.lexsort((np.array(ids), kinds))
    for found in (padded.sorted(), of_text.sorted()):
        assert found.ids.tolist() == [ids[row] for row in order] and found.latents[:, 0].tolist() == order.tolist()
    hashes = {Draft("r", HOUR_MS, "c", "b", "s", rows, True).content_hash(None) for rows in (padded, of_text)}
    assert hashes == {"69e6c034f22a6c7d8954db358c9b3d136a1019cf0f00e764b1fad3286baa9efe"}


def test_latents_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UserError, match="item i1 is not finite"):
        LatentRows(np.array(["item", "item"]), np.array(["i0", "i1"]), np.array([[0.0], [np.nan]], np.float32))


def test_sql_sees_latents_and_versions(tmp_path: Path) -> None:
    store = LatentStore.create_or_open(tmp_path, 3)
    fill(store, 2)
    query = "SELECT v.number, count(*) AS n FROM versions v JOIN latents l ON l.version = v.number GROUP BY 1 ORDER BY 1"
    found = store.sql(query)
    assert found.to_pylist() == [{"number": 0, "n": 4}, {"number": 1, "n": 4}]
    with pytest.raises(UserError, match="the views are latents and versions"):
        store.sql("SELECT * FROM nothing")


def test_another_width_and_a_missing_store_are_refused(tmp_path: Path) -> None:
    LatentStore.create_or_open(tmp_path, 3)
    with pytest.raises(UserError, match="latent_dim"):
        LatentStore.create_or_open(tmp_path, 4)
    with pytest.raises(UserError, match="no latent store"):
        LatentStore.open(tmp_path / "elsewhere")


def test_a_state_comes_back_as_it_was_put_and_lies_once(tmp_path: Path) -> None:
    states = StateFiles(tmp_path / "state")
    first = states.put({"a": b"1", "b": b"2"})
    assert states.put({"b": b"2", "a": b"1"}) == first
    second = states.put({"a": b"1", "b": b"3"})
    assert states.get(first) == {"a": b"1", "b": b"2"}
    assert len(list(states.path.iterdir())) == 5
    assert states.gc({second}) == 2
    assert states.get(second) == {"a": b"1", "b": b"3"}
    with pytest.raises(UserError, match="missing"):
        states.get(first)


def test_a_damaged_state_is_noticed(tmp_path: Path) -> None:
    states = StateFiles(tmp_path)
    name = states.put({"a": b"whole"})
    part = next(file for file in tmp_path.iterdir() if file.read_bytes() == b"whole")
    part.write_bytes(b"h0le!")
    with pytest.raises(UserError, match="not what it was written as"):
        states.get(name)
