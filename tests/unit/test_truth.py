"""The truth of a simulated stream: exact, complete, that of its own log alone, and beaten by nobody."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.times import HOUR_MS
from simulators.made import Made, write_stream
from simulators.output import write_made
from simulators.schedule import parse_schedule
from simulators.settings import StreamSettings, cut_time_ms
from simulators.stream import Stream, draw_stream, previous_items
from simulators.truth import Truth
from simulators.world import World, make_world
from tests.drifting import EVERYTHING, SETTINGS


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SETTINGS, parse_schedule(EVERYTHING, "everything").drift)


@pytest.fixture(scope="module")
def stream(world: World) -> Stream:
    return draw_stream(world)


@pytest.fixture(scope="module")
def truth(world: World) -> Truth:
    return Truth.of(world)


def online(stream: Stream) -> np.ndarray:
    return np.flatnonzero(stream.event_time_ms >= cut_time_ms())


def columns(stream: Stream, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return stream.user[rows], stream.event_time_ms[rows], stream.previous[rows]


def ndcg(chance: np.ndarray, scores: np.ndarray, k: int = 10) -> np.ndarray:
    """NDCG@k (B,) that each ranking of scores (B, items) is to expect under the chances of the items."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.asarray(np.take_along_axis(chance, best, axis=1) @ (1.0 / np.log2(np.arange(2, k + 2))))


def test_the_state_of_a_session_is_found_in_the_log_alone(stream: Stream) -> None:
    assert np.array_equal(previous_items(stream.user, stream.item, stream.event_time_ms), stream.previous)
    last: dict[int, tuple[int, int]] = {}
    for user, item, time, previous in zip(
        stream.user[:5_000].tolist(), stream.item.tolist(), stream.event_time_ms.tolist(), stream.previous.tolist(), strict=False
    ):
        before, then = last.get(user, (-1, 0))
        assert previous == (before if time - then <= 30 * 60_000 else -1)
        last[user] = item, time


def test_probabilities_add_up_and_one_item_has_that_of_its_row(stream: Stream, truth: Truth) -> None:
    rows = online(stream)[::37]
    chance = truth.probabilities(*columns(stream, rows))
    assert np.allclose(chance.sum(axis=1), 1.0, atol=1e-12) and (chance >= 0).all()
    single = truth.probability_of(*columns(stream, rows), stream.item[rows])
    assert np.allclose(single, chance[np.arange(len(rows)), stream.item[rows]], atol=1e-14) and (single > 0).all()


def test_what_was_drawn_is_what_the_truth_says(stream: Stream, truth: Truth) -> None:
    """Counts of items, and the surprise of the drawn ones, are within the noise that the truth itself predicts; a wrong
    truth, half an hour of another time or another user's, is not.
    """
    rows = online(stream)
    expected, variance, surprise, spread = np.zeros(300), np.zeros(300), 0.0, 0.0
    for block in np.array_split(rows, 40):
        chance = truth.probabilities(*columns(stream, block))
        expected += chance.sum(axis=0)
        variance += (chance * (1 - chance)).sum(axis=0)
        bits = -np.log(np.maximum(chance, 1e-300))
        mean = (chance * bits).sum(axis=1)
        surprise += (bits[np.arange(len(block)), stream.item[block]] - mean).sum()
        spread += ((chance * bits**2).sum(axis=1) - mean**2).sum()
    z = (np.bincount(stream.item[rows], minlength=300) - expected) / np.sqrt(variance)
    assert 0.8 < (z**2).mean() < 1.25 and np.abs(z).max() < 4.5
    assert abs(surprise) < 4 * np.sqrt(spread)

    def log_likelihood(user: np.ndarray, time: np.ndarray, previous: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(truth.probability_of(user, time, previous, stream.item[rows]), 1e-9))

    user, time, previous = columns(stream, rows)
    right = log_likelihood(user, time, previous)
    for wrong in (
        log_likelihood(np.roll(user, 1), time, previous),
        log_likelihood(user, np.roll(time, 2_000), previous),
        log_likelihood(user, time, np.full_like(previous, -1)),
    ):
        gain = right - wrong
        assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))


def test_each_part_of_the_mixture_is_as_frequent_as_the_truth_says(world: World, stream: Stream, truth: Truth) -> None:
    """Successors, topics kept, tastes old and new, noise: how often each is met is within the noise that the truth predicts."""
    rows = online(stream)
    user, _, previous = columns(stream, rows)
    topics, kept = np.arange(SETTINGS.topics), world.topic_of[previous]
    first = world.affinity[user, 0]
    chance = np.concatenate([truth.probabilities(*columns(stream, block)) for block in np.array_split(rows, 40)])
    by_topic = chance @ (world.topic_of[:, None] == topics)
    item, place = stream.item[rows], np.arange(len(rows))
    follow = world.successor[previous]
    rare = chance < 0.002
    found = {
        "successor": (item == follow, chance[place, follow], previous >= 0),
        "topic kept": (world.topic_of[item] == kept, by_topic[place, kept], previous >= 0),
        "first topic": (world.topic_of[item] == first, by_topic[place, first], previous < 0),
        "new topic of a cohort": (
            world.topic_of[item] == (first + world.shifts[0].places) % SETTINGS.topics,
            by_topic[place, (first + world.shifts[0].places) % SETTINGS.topics],
            world.shifts[0].cohort[user] & (stream.event_time_ms[rows] >= cut_time_ms() + 29 * HOUR_MS),
        ),
        "rare items": (rare[place, item], (chance * rare).sum(axis=1), np.ones(len(rows), bool)),
    }
    for name, (met, expected, among) in found.items():
        met, expected = met[among], expected[among]
        assert met.sum() > 100, name
        assert abs(met.sum() - expected.sum()) < 3 * np.sqrt((expected * (1 - expected)).sum()), name


def test_no_scorer_beats_the_oracle_beyond_noise(world: World, stream: Stream, truth: Truth) -> None:
    rows = online(stream)[::9]
    user, time, previous = columns(stream, rows)
    chance = truth.probabilities(user, time, previous)
    rng = np.random.default_rng(0)
    history = stream.event_time_ms < cut_time_ms()
    popular = np.bincount(stream.item[history], minlength=300).astype(float)
    latest = np.bincount(stream.item[stream.event_time_ms >= cut_time_ms() + 40 * HOUR_MS], minlength=300).astype(float)
    scorers = {
        "popularity": np.broadcast_to(popular, chance.shape),
        "popularity of the last hours, future ones among them": np.broadcast_to(latest, chance.shape),
        "truth with noise": chance * rng.lognormal(0.0, 0.5, chance.shape),
        "truth without sessions": truth.probabilities(user, time, np.full_like(previous, -1)),
        "truth of before the drifts": truth.probabilities(user, np.full_like(time, cut_time_ms() - 1), previous),
        "truth of a day later": truth.probabilities(user, time + 24 * HOUR_MS, previous),
        "truth of another seed": Truth.of(make_world(SETTINGS.model_copy(update={"seed": 6}), world.plans)).probabilities(
            user, time, previous
        ),
    }
    expected = ndcg(chance, chance)
    drawn = np.zeros_like(chance)
    drawn[np.arange(len(rows)), stream.item[rows]] = 1.0
    achieved = ndcg(drawn, chance)
    assert abs((achieved - expected).mean()) < 4 * (achieved - expected).std() / np.sqrt(len(rows))
    for name, scores in scorers.items():
        assert (ndcg(chance, scores) <= expected + 1e-12).all(), name
        gain = ndcg(drawn, scores) - achieved
        assert gain.mean() < 3 * gain.std() / np.sqrt(len(rows)), name
        assert ndcg(chance, scores).mean() < expected.mean() - 0.005, name


def test_a_truth_is_read_back_and_is_that_of_its_own_log_alone(tmp_path: Path, stream: Stream) -> None:
    plans = parse_schedule(EVERYTHING, "everything").drift
    made = Made.drawn(SETTINGS, plans)
    write_made(tmp_path / "raw", made.table, made.truth)
    prepare_folder(tmp_path / "raw", tmp_path / "data", Options(name="drawn"))
    log = PreparedLog.open(tmp_path / "data")
    assert "ingest_time_ms" in log.columns
    truth = Truth.load(tmp_path / "raw", log)
    assert truth.file == made.truth and [drift.kind for drift in truth.drifts] == [plan.kind for plan in plans]
    rows = online(stream)[:500]
    again = truth.probabilities(*columns(stream, rows))
    assert np.array_equal(again, Truth.of(make_world(SETTINGS, plans)).probabilities(*columns(stream, rows)))
    table = log.read(["user_id", "item_id"])
    assert np.array_equal(truth.user_numbers(table["user_id"].to_pylist()), stream.user)
    assert np.array_equal(truth.item_numbers(table["item_id"].to_pylist()), stream.item)
    assert truth.item_ids[7].as_py() == "i00000007"

    write_stream(tmp_path / "other", SETTINGS.model_copy(update={"seed": 6}))
    with pytest.raises(UserError, match="another log"):
        Truth.load(tmp_path / "other", log)


def test_a_truth_whose_seed_was_changed_is_refused(tmp_path: Path) -> None:
    write_stream(tmp_path / "raw", StreamSettings(events=2_000, users=50, items=60, online_hours=6))
    path = tmp_path / "raw" / "truth.json"
    document = json.loads(path.read_text())
    document["seed"] = 1
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="seed: 1, but that of the settings is 0"):
        Truth.load(path)
    document["settings"]["seed"] = 1
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="seed 1 and its settings give another world"):
        Truth.load(path)
    del document["cut_ms"]
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="cut_ms = nothing: Field required"):
        Truth.load(path)
    with pytest.raises(UserError, match="No such file"):
        Truth.load(tmp_path / "nowhere.json")


def test_many_ids_lie_beside_the_truth_and_are_missed(tmp_path: Path) -> None:
    made = write_stream(tmp_path / "raw", StreamSettings(events=2_000, users=50, items=1_200, online_hours=6))
    assert json.loads((tmp_path / "raw" / "truth.json").read_text())["drifts"][0]["items"] == "truth_ids.arrow"
    read = Truth.load(tmp_path / "raw")
    assert read.file == made.truth and len(read.drifts[0].items) == 1_200 - 60
    (tmp_path / "raw" / "truth_ids.arrow").unlink()
    with pytest.raises(UserError, match=r"truth_ids\.arrow: cannot be read"):
        Truth.load(tmp_path / "raw")


def test_an_unknown_user_is_named(truth: Truth) -> None:
    with pytest.raises(UserError, match="'u00000900' is no id"):
        truth.user_numbers(["u00000001", "u00000900"])
    with pytest.raises(UserError, match="not simulated"):
        replace(truth, world=None).probabilities(np.zeros(1, int), np.zeros(1, int), np.zeros(1, int))
