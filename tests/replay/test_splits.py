"""A split names the ranked events: the same events have the same hash, and a manifest fits one log alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dynmm_core.errors import UserError
from replay.splits import load_split, make_split, replayed_split, save_split, windows_of
from tests.replay.hand_made import HOUR_MS, HandMadeLog

# hours:      0        1     (2 is empty)   3          4
# rows:    0  1  2 |  3  4                5  6  7     8
TIMES = (10, 20, 30, HOUR_MS, HOUR_MS + 5, 3 * HOUR_MS, 3 * HOUR_MS + 1, 4 * HOUR_MS - 1, 4 * HOUR_MS)
LOG = HandMadeLog(TIMES, cut_row=2)


def test_windows_are_the_hours_with_an_online_event() -> None:
    starts, counts = windows_of(np.array(TIMES[2:]))

    assert starts.tolist() == [0, HOUR_MS, 3 * HOUR_MS, 4 * HOUR_MS]
    assert counts.tolist() == [1, 2, 3, 1]


def test_events_before_the_cut_are_never_ranked_even_in_the_first_window() -> None:
    split = make_split(LOG, from_ms=0)

    assert (split.events, split.windows) == (7, 4)
    assert split.first_event_time_ms == 30


def test_bounds_include_from_and_exclude_to() -> None:
    split = make_split(LOG, from_ms=HOUR_MS + 5, to_ms=4 * HOUR_MS)

    assert (split.first_event_time_ms, split.last_event_time_ms) == (HOUR_MS + 5, 4 * HOUR_MS - 1)
    assert (split.events, split.windows) == (4, 2)


def test_max_windows_counts_non_empty_windows_from_the_lower_bound() -> None:
    split = make_split(LOG, from_ms=HOUR_MS, max_windows=2)

    assert (split.windows, split.events, split.last_event_time_ms) == (2, 5, 4 * HOUR_MS - 1)


def test_the_same_events_have_the_same_hash_however_asked_for() -> None:
    whole = make_split(LOG)

    assert make_split(LOG, from_ms=5, to_ms=99 * HOUR_MS).hash == whole.hash
    assert make_split(LOG, max_windows=1_000).hash == whole.hash
    assert make_split(replace(LOG, name="renamed")).hash == whole.hash
    assert make_split(LOG, max_windows=3).hash != whole.hash
    assert make_split(replace(LOG, fingerprint="0" * 64)).hash != whole.hash


def test_other_windows_with_as_many_events_are_another_split(tmp_path: Path) -> None:
    # The second event of hour 1 comes in hour 3 instead: bounds, windows and events are as before.
    other = replace(LOG, times_ms=(*TIMES[:4], *TIMES[5:7], 3 * HOUR_MS + 2, *TIMES[7:]))
    split, moved = make_split(LOG), make_split(other)
    assert {**moved.model_dump(), "windows_sha256": split.windows_sha256} == split.model_dump()
    assert moved.hash != split.hash

    save_split(split, tmp_path / "split.json")
    with pytest.raises(UserError, match="does not fit by-hand: other events"):
        replayed_split(tmp_path / "split.json", other)


def test_the_cut_is_part_of_the_hash() -> None:
    assert make_split(replace(LOG, cut_row=1), from_ms=30).hash != make_split(LOG, from_ms=30).hash


def test_an_empty_range_names_itself_and_where_events_lie() -> None:
    with pytest.raises(UserError) as refused:
        make_split(LOG, from_ms=2 * HOUR_MS, to_ms=3 * HOUR_MS)
    assert str(refused.value) == (
        "--from 1970-01-01T02:00:00Z --to 1970-01-01T03:00:00Z: no online event in this range;"
        " online events lie from 1970-01-01T00:00:00Z to 1970-01-01T04:00:00Z"
    )
    with pytest.raises(UserError, match="log: no online event in this range; online events lie from nowhere"):
        make_split(replace(LOG, cut_row=len(TIMES)))


def test_a_saved_split_replays_on_its_log(tmp_path: Path) -> None:
    split = make_split(LOG, from_ms=HOUR_MS, max_windows=2)
    save_split(split, tmp_path / "new" / "split.json")
    save_split(split, tmp_path / "new" / "split.json")

    assert load_split(tmp_path / "new" / "split.json") == split
    assert replayed_split(tmp_path / "new" / "split.json", LOG) == split


def test_another_split_is_never_overwritten(tmp_path: Path) -> None:
    save_split(make_split(LOG), tmp_path / "split.json")
    before = (tmp_path / "split.json").read_bytes()

    with pytest.raises(UserError, match="holds another split"):
        save_split(make_split(LOG, max_windows=1), tmp_path / "split.json")
    assert (tmp_path / "split.json").read_bytes() == before


def test_a_manifest_of_other_data_is_refused(tmp_path: Path) -> None:
    save_split(make_split(LOG), tmp_path / "split.json")

    with pytest.raises(UserError, match="is of by-hand"):
        replayed_split(tmp_path / "split.json", replace(LOG, fingerprint="0" * 64))


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    save_split(make_split(LOG), tmp_path / "split.json")
    document = json.loads((tmp_path / "split.json").read_text())
    (tmp_path / "split.json").write_text(json.dumps({**document, "events": 3}))

    with pytest.raises(UserError, match="was changed"):
        load_split(tmp_path / "split.json")


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"hash": "x"}', "no json"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "split.json").write_text(content)

    with pytest.raises(UserError, match="no split manifest"):
        load_split(tmp_path / "split.json")


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_split(tmp_path / "split.json")
