"""The store against dictionaries: views, times and hashes hold for any sequence of commits."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.errors import UserError
from dynmm_core.store import Draft, LatentRows, LatentStore, StateFiles

Key = tuple[str, str]
KEYS = st.tuples(st.sampled_from(["item", "user"]), st.sampled_from(["a", "b", "ä", "🎵", "B", "\uffff", "a b", "10", "9", "é"]))
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
CHANGES = st.dictionaries(KEYS, st.tuples(FLOATS, FLOATS), max_size=6)
# (hours since the slide before, changed latents, rows kept, all rows handed over)
COMMITS = st.lists(st.tuples(st.integers(1, 3), CHANGES, st.booleans(), st.booleans()), min_size=1, max_size=8)


def rows_of(latents: dict[Key, tuple[float, float]], order: list[Key] | None = None) -> LatentRows:
    keys = list(latents) if order is None else order
    values = np.array([latents[key] for key in keys], np.float32).reshape(-1, 2)
    return LatentRows(np.array([key[0] for key in keys], str), np.array([key[1] for key in keys], str), values)


def as_dict(rows: LatentRows) -> dict[Key, bytes]:
    keys = zip(rows.kinds.tolist(), rows.ids.tolist(), strict=True)
    return {key: latent.tobytes() for key, latent in zip(keys, rows.latents, strict=True)}


@settings(max_examples=25, deadline=None)
@given(COMMITS)
def test_every_view_equals_a_dict_and_every_time_the_newest_slide_before_it(
    commits: list[tuple[int, dict[Key, tuple[float, float]], bool, bool]],
) -> None:
    with TemporaryDirectory() as folder:
        store, head, hour = LatentStore.create_or_open(Path(folder), 2), None, 0
        now: dict[Key, tuple[float, float]] = {}
        changed: dict[Key, tuple[float, float]] = {}
        views: list[dict[Key, bytes] | None] = []
        ends: list[int] = []
        for step, change, keep, full in commits:
            hour += step
            now, changed = now | change, changed | change
            handed = now if full else changed if keep else change
            head = store.commit(Draft("r", hour, "c", "b", "s", rows_of(handed), keep, full=full), head)
            if keep:
                changed = {}
            views.append(as_dict(rows_of(now)) if keep else None)
            ends.append(hour)
        for reader in (store, LatentStore.open(Path(folder))):
            check(reader, views, ends)


def check(store: LatentStore, views: list[dict[Key, bytes] | None], ends: list[int]) -> None:
    for number, view in enumerate(views):
        if view is None:
            with pytest.raises(UserError, match="were not kept"):
                store.at(number)
        else:
            found = store.at(number).rows
            assert as_dict(found) == view
            ordered = found.sorted()
            assert found.ids.tolist() == ordered.ids.tolist() and found.kinds.tolist() == ordered.kinds.tolist()
    for moment in range(ends[0], ends[-1] + 2):
        assert store.as_of(moment).number == max(n for n, end in enumerate(ends) if end <= moment)
    with pytest.raises(UserError, match="no version at"):
        store.as_of(ends[0] - 1)


# Latents that a commit changes, or: go back to the active version at this share of the way, skipping what lies behind or not.
STEPS = st.lists(st.one_of(CHANGES, st.tuples(st.floats(0.0, 0.99), st.booleans())), min_size=1, max_size=10)


@dataclass
class Branching:
    """A store as anybody would write it down: every version's whole view, the active numbers, and how far the slides got."""

    views: list[dict[Key, bytes]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    active: list[int] = field(default_factory=list)
    through: int = 0


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_views_and_times_follow_the_active_chain_through_any_rollbacks(
    steps: list[dict[Key, tuple[float, float]] | tuple[float, bool]],
) -> None:
    with TemporaryDirectory() as folder:
        store, model, run = LatentStore.create_or_open(Path(folder), 2), Branching(), "r"
        state = StateFiles(Path(folder) / "state").put({"a": b"1"})
        for step in steps:
            if isinstance(step, dict):
                model.through += 1
                before = model.views[model.active[-1]] if model.active else {}
                store.commit(Draft(run, model.through, "c", "b", state, rows_of(step), True), store.head())
                model.views.append(before | as_dict(rows_of(step)))
                model.ends.append(model.through)
                model.active.append(len(model.views) - 1)
            elif model.active:
                place = int(step[0] * len(model.active))
                if place == len(model.active) - 1 and model.through == model.ends[model.active[place]]:
                    continue  # the head is no version to go back to
                run = store.rollback(model.active[place], skip=step[1]).run
                model.active = model.active[: place + 1]
                model.through = model.through if step[1] else model.ends[model.active[-1]]
        for reader in (store, LatentStore.open(Path(folder))):
            check_branches(reader, model)


def check_branches(store: LatentStore, model: Branching) -> None:
    assert [version.number for version in store.log()] == list(range(len(model.views)))
    assert [version.number for version in store.active()] == model.active
    newest = store.newest_slide()
    assert (newest.slide_end_ms if newest else 0) == model.through
    for number, view in enumerate(model.views):
        assert as_dict(store.at(number).rows) == view
    for moment in range(model.ends[model.active[0]] if model.active else 1, max(model.ends, default=0) + 1):
        assert store.as_of(moment).number == max(number for number in model.active if model.ends[number] <= moment)
    told = store.sql("SELECT number FROM versions WHERE active ORDER BY number")["number"].to_pylist()
    assert told == model.active
    taken = {model.ends[number] for number in model.active} | {version.slide_end_ms for version in store.skipped()}
    # Every slide up to the newest one was learned from or is known as skipped: none fell between two branches.
    assert taken == set(range(1, model.through + 1))


@settings(max_examples=100, deadline=None)
@given(st.data(), st.dictionaries(KEYS, st.tuples(FLOATS, FLOATS), min_size=1, max_size=8))
def test_the_hash_is_of_content_not_of_order(data: st.DataObject, latents: dict[Key, tuple[float, float]]) -> None:
    shuffled = data.draw(st.permutations(list(latents)))
    one = Draft("r", 1, "c", "b", "s", rows_of(latents), True)
    other = Draft("r", 1, "c", "b", "s", rows_of(latents, shuffled), False, metrics={"loss": 1.0})
    assert one.content_hash("p") == other.content_hash("p")
    key = data.draw(st.sampled_from(list(latents)))
    touched = dict(latents) | {key: (latents[key][0], float(np.nextafter(np.float32(latents[key][1]), np.float32(0.5))))}
    if np.float32(touched[key][1]) != np.float32(latents[key][1]):
        assert replace(one, rows=rows_of(touched)).content_hash("p") != one.content_hash("p")
    fewer = {name: latent for name, latent in latents.items() if name != key}
    assert replace(one, rows=rows_of(fewer)).content_hash("p") != one.content_hash("p")
