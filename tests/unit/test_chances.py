"""Alias tables hold their weights, and probabilities are those that a plain walk through the mixture finds."""

import numpy as np
import pytest

from simulators.alias import AliasTables
from simulators.regimes import _redealt
from simulators.schedule import parse_schedule
from simulators.settings import cut_time_ms
from simulators.stream import draw_stream
from simulators.truth import Truth
from simulators.world import World, _shown, _weights, make_world
from tests.drifting import EVERYTHING, SETTINGS


@pytest.mark.parametrize("weights", [[1.0], [0.0, 3.0, 0.0], [5.0, 1.0, 1.0], [0.1, 4.0, 0.0, 9.0, 0.2], "zipf", "even"])
def test_an_alias_table_holds_exactly_its_weights(weights: list[float] | str) -> None:
    drawn = {"zipf": 1.0 / np.arange(1, 1_001), "even": np.ones(97)}
    array = drawn[weights] if isinstance(weights, str) else np.array(weights)
    tables = AliasTables.of(array)
    share = tables.keep.copy()
    np.add.at(share, tables.other, 1.0 - tables.keep)
    assert np.allclose(share / len(array), array / array.sum(), atol=1e-14, rtol=0)
    assert (array[tables.draw(np.zeros(5_000, np.int64), np.arange(5_000) / 5_000)] > 0).all()


def test_probabilities_are_those_of_a_plain_walk_through_the_mixture() -> None:
    """Event by event and item by item, from the drifts' levels: no classes, no regimes of time, no blocks."""
    world = make_world(SETTINGS, parse_schedule(EVERYTHING, "everything").drift)
    stream = draw_stream(world)
    rows = np.concatenate([np.flatnonzero(stream.event_time_ms >= cut_time_ms())[::311], np.array([0, 1, 2])])
    found = Truth.of(world).probabilities(stream.user[rows], stream.event_time_ms[rows], stream.previous[rows])
    for row, event in zip(found, rows.tolist(), strict=True):
        user, time, previous = int(stream.user[event]), int(stream.event_time_ms[event]), int(stream.previous[event])
        assert np.allclose(row, by_hand(world, user, time, previous), atol=1e-12)


def by_hand(world: World, user: int, time: int, previous: int) -> np.ndarray:
    """The mixture over whether the gradual drift has reached this event."""
    gradual = next(drift for drift in world.drifts if drift.kind == "gradual")
    assert gradual.end_ms is not None
    progress = min(1.0, max(0.0, (time - gradual.start_ms) / (gradual.end_ms - gradual.start_ms)))
    return (1 - progress) * one_side(world, user, time, previous, 0.0) + progress * one_side(world, user, time, previous, 1.0)


def one_side(world: World, user: int, time: int, previous: int, gradual: float) -> np.ndarray:
    levels, noise = [], 0.0
    taste = np.zeros(SETTINGS.topics)
    taste[world.affinity[user]] = [0.6, 0.3, 0.1]
    shifts = iter(world.shifts)
    for drift in world.drifts:
        reached = drift.users is None or user in drift.users
        level = gradual if drift.kind == "gradual" else ([0.0] + [level for at, level in drift.levels() if at <= time])[-1]
        levels.append(level * reached if drift.kind not in ("cohort_shift", "label_noise") else 0.0)
        if drift.kind == "label_noise":
            noise = drift.magnitude * level * reached
        if drift.kind == "cohort_shift":
            moved = np.zeros(SETTINGS.topics)
            moved[(world.affinity[user] + next(shifts).places) % SETTINGS.topics] = [0.6, 0.3, 0.1]
            taste += drift.magnitude * level * reached * (moved - taste)
    popularity = popularity_of(world, levels)
    exists = popularity > 0
    if previous >= 0:
        taste = 0.85 * (np.arange(SETTINGS.topics) == world.topic_of[previous]) + 0.15 * taste
    chance = taste[world.topic_of] * popularity
    if previous >= 0 and exists[world.successor[previous]]:
        chance *= 0.7
        chance[world.successor[previous]] += 0.3
    shown = np.where(exists, _shown(world.settings), 0.0)
    assert shown.sum() > 0
    chance = 0.95 * chance + 0.05 * shown / shown.sum()
    return np.asarray((1 - noise) * chance + noise * exists / exists.sum())


def popularity_of(world: World, levels: list[float]) -> np.ndarray:
    """Applies each drift's change to each topic in turn."""
    weights = _weights(world.settings, world.topic_start)
    for drift, level in zip(world.drifts, levels, strict=True):
        if drift.kind in ("abrupt", "gradual", "incremental", "recurring"):
            dealt, share = weights[_redealt(drift, world.topic_start, drift.generator(5, "redealt"))], level * drift.magnitude
            weights = (
                weights ** (1 - share) * dealt**share if drift.kind == "incremental" else weights * (1 - share) + dealt * share
            )
    for drift, level in zip(world.drifts, levels, strict=True):
        if drift.kind == "item_death" and level:
            weights[drift.items] = 0.0
        if drift.kind == "item_birth":
            weights[drift.items] = 0.0
    for drift, level in zip(world.drifts, levels, strict=True):
        if drift.kind not in ("item_birth", "popularity_burst") or not level:
            continue
        turn = drift.generator(5, "turn").permutation(len(drift.items))
        there = drift.items[turn < round(level * len(turn))]
        for topic in range(world.settings.topics):
            all_of_it, mine = drift.items[world.topic_of[drift.items] == topic], there[world.topic_of[there] == topic]
            if len(mine):
                share = drift.magnitude * len(mine) / len(all_of_it)
                weights[mine] = 0.0
                weights[mine] = share / (1 - share) * weights[world.topic_of == topic].sum() / len(mine)
    return np.asarray(weights / np.bincount(world.topic_of, weights)[world.topic_of])
