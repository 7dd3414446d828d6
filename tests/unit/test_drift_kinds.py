"""Each kind of drift does what it says, when and to whom it says; and everyday life has its cycles."""

from itertools import pairwise

import numpy as np
import pytest

from dynmm_core.times import HOUR_MS
from simulators.schedule import parse_schedule, read_preset
from simulators.settings import StreamSettings, cut_time_ms
from simulators.stream import Stream, draw_stream
from simulators.truth import Truth
from simulators.world import World, make_world

SMALL = {"events": 60_000, "users": 1_500, "items": 600, "online_hours": 48}


def drawn(name: str, **changes: int) -> tuple[World, Stream]:
    schedule = read_preset(name)
    world = make_world(schedule.settings(**{**SMALL, **changes}), schedule.drift)
    return world, draw_stream(world)


def shares(stream: Stream, first_hour: float, last_hour: float, users: np.ndarray | None = None) -> np.ndarray:
    """Share of each item among the events of some online hours, of some users alone."""
    hour = (stream.event_time_ms - cut_time_ms()) / HOUR_MS
    inside = (hour >= first_hour) & (hour < last_hour)
    if users is not None:
        inside &= np.isin(stream.user, users)
    return np.bincount(stream.item[inside], minlength=600) / inside.sum()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).sum() / 2)


def spread(stream: Stream, part: np.ndarray) -> float:
    """Pearson's statistic of the items in one part of the events against those in the other."""
    counts = np.stack([np.bincount(stream.item[side], minlength=120) for side in (~part, part)])
    even = counts.sum(axis=0) * counts.sum(axis=1, keepdims=True) / counts.sum()
    return float(((counts - even) ** 2 / even).sum())


def test_the_null_preset_ranks_more_than_its_test_needs_and_nothing_in_it_changes() -> None:
    settings = read_preset("null").settings()
    assert settings.events - settings.history_events == 180_000
    world, stream = drawn("null", events=100_000, items=120)
    assert len(world.timeline.start_ms) == len(world.regimes.exposure) == 1 and not world.drifts
    online = stream.event_time_ms >= cut_time_ms()
    assert len(np.unique(stream.user[~online])) == 1_500
    # Events of a session hang together, so even hours that take turns differ by more than single events would.
    turns = stream.event_time_ms // HOUR_MS % 10 >= 7
    assert spread(stream, online) < 1.5 * spread(stream, turns)
    _, drifting = drawn("abrupt", events=100_000, items=120)
    assert spread(drifting, drifting.event_time_ms >= cut_time_ms() + 16 * HOUR_MS) > 10 * spread(stream, turns)
    by_hour = np.bincount((stream.event_time_ms[~online] - stream.event_time_ms[0]) // HOUR_MS)[:167]
    assert by_hour.std() < 4 * np.sqrt(by_hour.mean() * 4) and by_hour[:24].mean() == pytest.approx(by_hour[-24:].mean(), rel=0.1)


def test_everyday_life_has_cycles_and_bursts() -> None:
    _, stream = drawn("abrupt")
    hour = (stream.event_time_ms - (cut_time_ms() - 168 * HOUR_MS)) // HOUR_MS
    by_hour = np.bincount(hour)[:168].reshape(7, 24)
    assert by_hour[:, 15].sum() > 2 * by_hour[:, 3].sum()
    assert by_hour[5:].mean() < 0.85 * by_hour[:5].mean()
    minute = np.bincount((stream.event_time_ms[hour == 15] % HOUR_MS) // 60_000, minlength=60)[5:]
    assert minute.var() > 2 * minute.mean()
    delay = stream.ingest_time_ms - stream.event_time_ms
    assert delay.min() >= 0 and 1_500 < np.median(delay) * np.log2(np.e) < 3_500 and delay.max() > 20_000


def test_an_abrupt_drift_changes_everything_at_once_and_by_its_magnitude() -> None:
    world, stream = drawn("abrupt")
    assert [drift.start_ms for drift in world.drifts] == [cut_time_ms() + 16 * HOUR_MS]
    history = shares(stream, -168, 0)
    assert distance(shares(stream, 0, 16), history) < 0.16 < 0.4 < distance(shares(stream, 16, 32), history)

    def moved(magnitude: float) -> float:
        text = f'[[drift]]\nkind = "abrupt"\nstart = "16h"\nmagnitude = {magnitude}'
        popularity = make_world(StreamSettings(**SMALL), parse_schedule(text, "x").drift).regimes.popularity
        return 0.0 if len(popularity) == 1 else float(np.abs(popularity[1] - popularity[0]).sum())

    assert moved(0.0) == 0.0
    assert moved(0.25) == pytest.approx(moved(1.0) / 4) and moved(1.0) > 10


def test_a_gradual_drift_mixes_and_an_incremental_one_walks() -> None:
    """Half-way, a gradual drift draws from the old order or from the new one; an incremental one has an order in between."""
    for name in ("gradual", "incremental"):
        world, _ = drawn(name)
        truth = Truth.of(world)
        user, none = np.arange(200), np.full(200, -1)
        old, middle, new = (
            truth.probabilities(user, np.full(200, cut_time_ms() + hour * HOUR_MS), none) for hour in (11, 24, 37)
        )  # fmt: skip
        between = (np.abs(middle - (old + new) / 2)).sum(axis=1).mean()
        assert between < 1e-12 if name == "gradual" else between > 0.1
        assert np.abs(new - old).sum(axis=1).mean() > 0.5
    assert len(world.regimes.exposure) == 25


def test_a_recurring_drift_returns_to_the_very_same_concepts() -> None:
    world, stream = drawn("recurring")
    (drift,) = world.drifts
    assert [level for _, level in drift.levels()] == [1, 0, 1, 0, 1, 0] and len(world.regimes.exposure) == 2
    starts = [(moment - cut_time_ms()) // HOUR_MS for moment, _ in drift.levels()]
    first, away, again = (shares(stream, *hours) for hours in list(pairwise(starts))[:3])
    assert distance(first, again) < distance(first, away) - 0.1


def test_a_burst_takes_its_share_and_is_over() -> None:
    world, stream = drawn("popularity_burst")
    items = world.drifts[0].items
    before, during, after = (shares(stream, *hours)[items].sum() for hours in ((0, 16), (16, 24), (24, 48)))
    assert during > 0.2 > 0.12 > max(before, after)


@pytest.mark.parametrize("name", ["item_birth", "item_death"])
def test_items_come_and_go_one_after_another(name: str) -> None:
    world, stream = drawn(name)
    (drift,) = world.drifts
    touched = np.isin(stream.item, drift.items)
    hour = (stream.event_time_ms - cut_time_ms()) / HOUR_MS
    late, early = hour >= 24, hour < 12
    gone = touched & (late if name == "item_death" else early)
    assert not gone.any() and touched[early if name == "item_death" else late].any()
    moments = [hour[stream.item == item] for item in drift.items]
    ends = np.array([own.max() if name == "item_death" else own.min() for own in moments if len(own)])
    assert len(np.unique(np.floor(ends))) >= 8


def test_a_cohort_changes_its_taste_and_the_others_do_not() -> None:
    world, stream = drawn("cohort_shift")
    members = world.drifts[0].users
    assert members is not None and 400 < len(members) < 600
    others = np.setdiff1d(np.arange(1_500), members)
    assert distance(shares(stream, 16, 48, members), shares(stream, -168, 16, members)) > 0.3
    assert distance(shares(stream, 16, 48, others), shares(stream, -168, 16, others)) < 0.15


def test_label_noise_spares_those_out_of_its_scope() -> None:
    world, stream = drawn("label_noise")
    noisy = world.drifts[0].users
    assert noisy is not None
    rare = np.argsort(world.regimes.popularity[0])[:300]
    inside, outside = (shares(stream, 16, 32, users)[rare].sum() for users in (noisy, np.setdiff1d(np.arange(1_500), noisy)))
    assert inside - outside == pytest.approx(0.333 * (0.5 - outside), abs=0.03)


def test_an_outage_takes_features_away_and_no_click() -> None:
    world, _ = drawn("modality_outage")
    truth = Truth.of(world)
    items, during = np.arange(600), np.full(600, cut_time_ms() + 20 * HOUR_MS)
    assert truth.available("image", items, during).sum() == 300
    assert truth.available("text", items, during).all()
    assert truth.available("image", items, during + 20 * HOUR_MS).all()
    assert len(world.regimes.exposure) == 1
