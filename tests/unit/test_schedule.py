"""Schedules: each kind of drift does what it says, when and to whom it says; what cannot be is refused in one line."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dynmm_core.cli import main
from dynmm_core.errors import UserError
from simulators.made import Made
from simulators.names import numbers_of
from simulators.schedule import KINDS, Schedule, parse_schedule, preset_names, read_preset
from simulators.settings import HOUR_MS, StreamSettings, cut_time_ms
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


def test_every_kind_has_a_preset_of_its_own() -> None:
    assert set(preset_names()) == {*KINDS, "demo", "faults"}
    for kind in KINDS:
        assert [plan.kind for plan in read_preset(kind).drift] == [kind]


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_of_any_size_gives_the_same_stream_twice(name: str) -> None:
    schedule = read_preset(name)
    for sizes in (SMALL, {"events": 2_000, "users": 50, "items": 60, "online_hours": 6}):
        settings = schedule.settings(seed=2, **sizes)
        one, two = (Made.drawn(settings, schedule.drift) for _ in range(2))
        assert one.table.num_rows == sizes["events"] and one.table.equals(two.table) and one.truth == two.truth
    other = Made.drawn(schedule.settings(seed=3, **sizes), schedule.drift)
    assert other.truth.log != one.truth.log and other.truth.world != one.truth.world


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
    first, away, again = (shares(stream, *hours) for hours in zip(starts[:3], starts[1:4], strict=True))
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


def refused(text: str) -> str:
    with pytest.raises(UserError) as error:
        schedule = parse_schedule(text, "mine.toml")
        make_world(schedule.settings(**SMALL), schedule.drift)
    assert "\n" not in str(error.value)
    return str(error.value)


def drift(**fields: object) -> str:
    return "[[drift]]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in fields.items()) + "\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (drift(kind="earthquake"), "drift.0.kind: Input should be 'abrupt', 'gradual'"),
        (drift(kind="abrupt", magnitude=-0.5), "drift.0.magnitude: Input should be greater than or equal to 0"),
        (drift(kind="abrupt", start=1.5), "drift.0.start: 1.5 is neither a share"),
        (drift(kind="abrupt", start="soon"), "drift.0.start: 'soon' is no duration"),
        (drift(kind="abrupt", start="48h"), "start: 48h lies behind the online part, which takes 2d"),
        (drift(kind="abrupt", start=0.5, end=0.25), "end: 0.25 does not lie behind its start"),
        (drift(kind="abrupt", items=[]), "drift.0.items: [] is neither"),
        (drift(kind="abrupt", items=["i00000600"]), "items: i00000600 is none of the log's 600"),
        (drift(kind="abrupt", topics=[30]), "topics: 30 does not lie in 0 to 29"),
        (drift(kind="abrupt", segments=[6]), "segments: 6 does not lie in 0 to 5"),
        (drift(kind="abrupt", size=3), "drift.0.size: Extra inputs are not permitted"),
        (drift(kind="gradual"), "drift.0: end: missing; a drift of kind gradual has one"),
        (drift(kind="recurring", end=0.5), "drift.0: period: a recurring drift has one"),
        (drift(kind="recurring", end=0.5, period=0.5), "period: 0.5 must be above 0 and shorter than the drift"),
        (drift(kind="modality_outage", end=0.5), "drift.0: modality:"),
        (drift(kind="gradual", end=0.5) + drift(kind="gradual", start=0.4, end=0.8), "gradual-1 and gradual-2 contradict"),
        (drift(kind="incremental", end=0.5) + drift(kind="abrupt", start=0.4), "they redeal the same items at once"),
        (drift(kind="item_death") + drift(kind="item_death", start=0.4, items=0.1), "item_death-1 and item_death-2 contradict"),
        (drift(kind="item_death"), "topic 0 is left without items"),
        (drift(kind="item_birth", items=["i00000003"]) + drift(kind="item_death", items=["i00000003"]), "are born by another"),
        (drift(kind="abrupt", id="x") + drift(kind="item_death", id="x", items=0.1), "two are called x"),
        (drift(kind="null") + drift(kind="abrupt"), "null stands for no drift at all"),
        ("[stream]\ndaily_cycle = 0.5\n" + drift(kind="null"), "stream.daily_cycle: 0.5, but null has no cycles"),
        ("[stream]\nseed = 5\n", "stream.seed: is an option of the command"),
        ("[stream]\nsuccessor = 2\n", "stream.successor: Input should be less than 1"),
        ("[stream]\ncolour = 2\n", "stream.colour: Extra inputs are not permitted"),
        ("[faults]\nlate = -0.1\n", "faults.late: Input should be greater than or equal to 0"),
        ("[[drift]\n", "Expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(text: str, told: str) -> None:
    assert told in refused(text)


def test_drifts_of_different_items_or_users_do_not_contradict() -> None:
    text = drift(kind="incremental", end=0.5, topics=[1, 2]) + drift(kind="abrupt", start=0.4, topics=[3])
    text += drift(kind="abrupt", id="other", start=0.4, topics=[4], segments=[1])
    text += drift(kind="recurring", start=0.6, end=0.9, period=0.1)
    schedule = parse_schedule(text, "x")
    assert len(make_world(schedule.settings(**SMALL), schedule.drift).drifts) == 4


def test_options_win_over_the_schedule_and_it_over_the_defaults() -> None:
    schedule = Schedule.model_validate({"stream": {"events": 5_000, "users": 70}})
    settings = schedule.settings(users=80, items=None)
    assert (settings.events, settings.users, settings.items) == (5_000, 80, 3_000)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *arguments])
    return int(ended.value.code or 0)


SIZES = ("--events", "3000", "--users", "100", "--items", "80", "--online-hours", "6")


def test_the_command_writes_log_truth_features_and_faults(tmp_path: Path) -> None:
    arguments = ("--preset", "faults", "--features", *SIZES)
    assert run("--out", str(tmp_path / "one"), *arguments) == run("--out", str(tmp_path / "two"), *arguments) == 0
    names = ("interactions.parquet", "truth.json", "features.parquet", "faulty/messages.parquet", "faulty/expected.json")
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    faults = Truth.load(tmp_path / "one").file.faults
    assert faults is not None and faults.expected.read == 3_000 + 60 and faults.slide == "15m"
    assert json.loads((tmp_path / "one/faulty/expected.json").read_text())["late"] == faults.expected.late > 0


def test_features_show_what_items_have_in_common(tmp_path: Path) -> None:
    assert run("--out", str(tmp_path / "out"), "--preset", "abrupt", "--features", "--items", "900", *SIZES[:4]) == 0
    table = pq.read_table(tmp_path / "out" / "features.parquet")
    topic = np.repeat(np.arange(30), 30)
    assert np.array_equal(numbers_of("i", table["item_id"].to_pylist()), np.arange(900))
    gains = {}
    for name, missing in (("text", 0.05), ("image", 0.2), ("audio", 0.5)):
        column = table[name].combine_chunks()
        assert column.null_count / 900 == pytest.approx(missing, abs=0.04)
        there = np.flatnonzero(column.is_valid())
        vectors = np.stack([np.array(value) for value in column.drop_null().to_pylist()])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        alike, same = vectors @ vectors.T, topic[there][:, None] == topic[there]
        gains[name] = alike[same & ~np.eye(len(there), dtype=bool)].mean() - alike[~same].mean()
    assert gains["text"] > gains["image"] > gains["audio"] > 0.1


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list", "--json") == 0
    assert [row["preset"] for row in json.loads(capsys.readouterr().out)] == preset_names()
    assert run("--list") == 0
    assert "popularity_burst" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--preset", "nonsense"], "--preset: nonsense is none of abrupt"),
        (["--schedule", "nowhere.toml"], "--schedule: nowhere.toml: No such file"),
        (["--preset", "abrupt", "--schedule", "x.toml"], "--preset: a schedule is given too"),
        (["--events", "-5"], "--events"),
        (["--items", "60", "--preset", "abrupt", "--users", "3"], "--users"),
        (["--inject", "nowhere", "--events", "5"], "--events: is for a simulated stream"),
        (["--inject", "nowhere", "--features"], "--features: is for a simulated stream"),
        (["--inject", "nowhere"], "nowhere"),
        (["--preset", "faults", "--format", "arrow"], "--format: arrow, but a faulty log is json"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert run("--out", str(tmp_path / "out"), *arguments) == 2
    line = capsys.readouterr().err.strip()
    assert told in line and "\n" not in line and not (tmp_path / "out").exists()
