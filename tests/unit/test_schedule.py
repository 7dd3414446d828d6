"""Schedules, presets and the command: the same bytes from the same seed; what cannot be is refused in one line."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dynmm_core.cli import main
from dynmm_core.errors import UserError
from dynmm_core.times import HOUR_MS
from simulators.made import Made
from simulators.names import numbers_of
from simulators.output import fingerprint_of
from simulators.schedule import KINDS, Schedule, offset_ms, parse_schedule, preset_names, read_preset
from simulators.truth import Truth
from simulators.world import World, make_world

SMALL = {"events": 60_000, "users": 1_500, "items": 600, "online_hours": 48}


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


def test_presets_share_a_history_unless_their_drifts_reach_into_it() -> None:
    """Births keep their items out of the history, null is another everyday life; the faults are in messages alone."""
    alike: dict[str, set[str]] = {}
    for name in preset_names():
        schedule = read_preset(name)
        settings = schedule.settings(seed=2, **SMALL)
        history = Made.drawn(settings, schedule.drift).table.slice(0, settings.history_events)
        alike.setdefault(fingerprint_of(history), set()).add(name)
    others = set(KINDS) - {"item_birth", "null"}
    assert sorted(map(sorted, alike.values())) == sorted(map(sorted, [others, {"demo", "faults"}, {"item_birth"}, {"null"}]))


def world_of(text: str) -> World:
    schedule = parse_schedule(text, "mine.toml")
    return make_world(schedule.settings(**SMALL), schedule.drift)


def refused(text: str) -> str:
    with pytest.raises(UserError) as error:
        world_of(text)
    assert "\n" not in str(error.value)
    return str(error.value)


def drift(**fields: object) -> str:
    return "[[drift]]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in fields.items()) + "\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (drift(kind="earthquake"), "drift.0.kind = 'earthquake': Input should be 'abrupt', 'gradual'"),
        (drift(kind="abrupt", magnitude=-0.5), "drift.0.magnitude = -0.5: Input should be greater than or equal to 0"),
        (drift(kind="abrupt", start=1.5), "drift.0.start: 1.5 is neither a share"),
        (drift(kind="abrupt", start="soon"), "drift.0.start: 'soon' is no duration"),
        (drift(kind="abrupt", start="48h"), "start: 48h lies behind the online part, which takes 2d"),
        (drift(kind="abrupt", start=0.5, end=0.25), "end: 0.25 does not lie behind its start"),
        (drift(kind="abrupt", items=[]), "drift.0.items: [] is neither"),
        (drift(kind="abrupt", items=["i00000600"]), "items: i00000600 is none of the log's 600"),
        (drift(kind="abrupt", topics=[30]), "topics: 30 does not lie in 0 to 29"),
        (drift(kind="abrupt", segments=[6]), "segments: 6 does not lie in 0 to 5"),
        (drift(kind="abrupt", size=3), "drift.0.size = 3: Extra inputs are not permitted"),
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
        ("[stream]\nsuccessor = 2\n", "stream.successor = 2: Input should be less than 1"),
        ("[stream]\ncolour = 2\n", "stream.colour = 2: Extra inputs are not permitted"),
        ("[faults]\nlate = -0.1\n", "faults.late = -0.1: Input should be greater than or equal to 0"),
        ("[[drift]\n", "Expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(text: str, told: str) -> None:
    assert told in refused(text)


def test_drifts_of_different_items_or_users_do_not_contradict() -> None:
    text = drift(kind="incremental", end=0.5, topics=[1, 2]) + drift(kind="abrupt", start=0.4, topics=[3])
    text += drift(kind="abrupt", id="other", start=0.4, topics=[4], segments=[1])
    text += drift(kind="recurring", start=0.6, end=0.9, period=0.1)
    assert len(world_of(text).drifts) == 4


@pytest.mark.parametrize(
    ("moment", "online_ms", "offset"),
    [(0.3333, 72 * HOUR_MS, 24 * HOUR_MS), (1.0, 72 * HOUR_MS + 5, 72 * HOUR_MS), (0.999, 7 * HOUR_MS - 1, 7 * HOUR_MS - 1),
     (0.25, HOUR_MS, HOUR_MS // 4), ("90m", 72 * HOUR_MS, 5_400_000), ("0", HOUR_MS, 0)],
)  # fmt: skip
def test_a_share_of_the_online_part_is_in_whole_hours_where_it_has_enough(
    moment: float | str, online_ms: int, offset: int
) -> None:  # fmt: skip
    assert offset_ms(moment, online_ms) == offset


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
        (["--schedule", "nowhere.toml"], "--schedule: nowhere.toml: No such file or directory; name a TOML file"),
        (["--preset", "abrupt", "--schedule", "x.toml"], "--preset: a schedule is given too"),
        (["--events", "-5"], "--events: -5: Input"),
        (["--online-hours", "0"], "--online-hours: 0: Input"),
        (["--seed", "-1"], "--seed: -1: Input"),
        (["--items", "61", "--preset", "abrupt", "--users", "0"], "--users: 0: Input"),
        (["--items", "60", "--preset", "abrupt", "--users", "3"], "--users"),
        (["--inject", "nowhere", "--events", "5"], "--events: is for a simulated stream"),
        (["--inject", "nowhere", "--features"], "--features: is for a simulated stream"),
        (["--inject", "nowhere"], "nowhere"),
        (["--faults", "nowhere.toml"], "--faults: nowhere.toml: No such file or directory; name a TOML file"),
        (["--property", "a=b"], "--property: a=b goes with --to-kafka BROKERS; give both, or neither"),
        (["--slide", "7m"], "--slide: 7m goes with --faults FILE; give both, or neither"),
        (["--to-kafka", "localhost:1", "--max-skew", "off"], "--max-skew: off goes with --faults FILE"),
        (["--speed", "60"], "--speed: 60 goes with --to-kafka BROKERS; give both, or neither"),
        (["--format", "arrow"], "--format: arrow goes with --to-kafka BROKERS"),
        (["--topic", "clicks"], "--topic: clicks goes with --to-kafka BROKERS or --faults FILE"),
        (["--part", "online"], "--part: online goes with --to-kafka BROKERS or --faults FILE"),
        (["--partitions", "3"], "--partitions: 3 goes with --to-kafka BROKERS or --faults FILE"),
        (["--preset", "faults", "--format", "arrow"], "--format: arrow, but a faulty log is json"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert run("--out", str(tmp_path / "out"), *arguments) == 2
    line = capsys.readouterr().err.strip()
    assert told in line and "\n" not in line and not (tmp_path / "out").exists()
