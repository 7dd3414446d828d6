"""The store against dictionaries: views, times and hashes hold for any sequence of commits."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.errors import UserError
from dynmm_core.store import Draft, LatentRows, LatentStore

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
