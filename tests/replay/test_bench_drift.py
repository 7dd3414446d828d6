"""`dynmm bench drift`: cells are run once with plain commands, resumed, and published; a leak makes it fail."""

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.drift import cells as running
from benchmarks.drift.blocks import Blocks
from benchmarks.drift.cells import Folders, bundle_name, make_stream
from benchmarks.drift.checks import check_equivalence
from benchmarks.drift.protocol import Equivalence, read_protocol
from benchmarks.processes import Cost
from dynmm_core.adapt.loop import AdaptLoop
from dynmm_core.adapt.published import publish
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.adapt.tail import slides
from dynmm_core.cli import main
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.metrics.ranking import METRICS
from dynmm_core.model.bundle import CutState
from replay.drift_figures import WindowSeries
from tests.replay.tiny import bundle_tiny
from tests.unit.test_adapt_loop import BASE_ITEMS, BASE_USERS, CUT, HOUR_MS, START_MS, loop_over

MODELS = ("static", "adapted_day_old", "adapted")
PROTOCOL = """
name = "tiny"
seeds = [3]
models = ["static", "window_popularity", "adapted_day_old", "adapted"]
sizes = { events = 2_000, users = 100, items = 80, online_hours = 12 }
[[stream]]
preset = "abrupt"
[[stream]]
preset = "gradual"
"""


class Commands:
    """Runs commands in this process, and remembers them."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, words: Sequence[str], log: Path, threads: int) -> Cost:
        self.names.append(words[0])
        assert ended_with([*words, "--json"]) == 0
        return Cost(1.0, 2.0, 100.0)


def ended_with(words: list[str]) -> int:
    try:
        main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Commands]]:
    """A protocol whose bundle is there already, one for both of its streams."""
    folder, commands = tmp_path_factory.mktemp("drift"), Commands()
    (folder / "tiny.toml").write_text(PROTOCOL)
    folders = Folders(folder / "work", folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "run_dynmm", commands)
        found = read_protocol(folder / "tiny.toml").cells
        for cell in found:
            make_stream(cell, folders)
        (name,) = {bundle_name(cell, folders) for cell in found}
        (folders.work / "bundles").mkdir()
        bundle_tiny(PreparedLog.open(folders.prepared(found[0])), folders.work / "bundles" / name)
        commands.names.clear()
        yield folder, commands


def bench(folder: Path, *words: str) -> int:
    options = ["--protocol", str(folder / "tiny.toml"), "--work", str(folder / "work"), "--results", str(folder / "results")]
    return ended_with(["bench", "drift", *options, *words])


@pytest.fixture(scope="module")
def rows(place: tuple[Path, Commands]) -> dict[str, Any]:
    """What is printed when one cell had been finished before."""
    folder, commands = place
    with pytest.MonkeyPatch.context() as patch:
        printed: list[dict[str, Any]] = []
        patch.setattr("dynmm_core.console.print_json", printed.append)
        assert bench(folder, "--only", "abrupt.s3", "--json") == 0
        assert commands.names == ["replay"]
        before = (folder / "results" / "tiny" / "abrupt.s3.json").stat().st_mtime_ns
        assert bench(folder, "--json") == 0
        assert commands.names == ["replay"] * 2
        assert (folder / "results" / "tiny" / "abrupt.s3.json").stat().st_mtime_ns == before
        assert [document["missing"] for document in printed[-1:]] == [[]]
    return printed[-1]


def test_rows_tell_every_preset_and_model(rows: dict[str, Any]) -> None:
    models = [*MODELS[:1], "window_popularity", *MODELS[1:], "oracle"]
    assert [(row["preset"], row["model"]) for row in rows["rows"]] == [(p, m) for p in ("abrupt", "gradual") for m in models]
    for row in rows["rows"]:
        assert (row["seeds"], row["events"], row["windows"]) == ([3], 600, 12)
    best = {row["preset"]: row["ndcg@10"] for row in rows["rows"] if row["model"] == "oracle"}
    assert all(row["ndcg@10"] < best[row["preset"]] for row in rows["rows"] if row["model"] != "oracle")


def test_a_result_file_tells_commands_sums_and_origin(place: tuple[Path, Commands], rows: dict[str, Any]) -> None:
    document = json.loads((place[0] / "results" / "tiny" / "gradual.s3.json").read_text())
    assert document["commands"] == [
        "dynmm simulate --preset gradual --seed 3 --events 2000 --items 80 --online-hours 12 --users 100 --out STREAM",
        "dynmm pretrain DATA --out BUNDLE --profile demo --seed 3 --threads 1",
        "dynmm replay DATA --bundle BUNDLE --out RUN --truth STREAM --seed 3"
        " --models static,window_popularity,adapted_day_old,adapted --keep-consumed --threads 1",
    ]
    assert sum(document["n"]) == document["events"] == 600
    assert {len(sums) for sums in document["ndcg@10"].values()} == {len(document["n"])} == {12}
    assert [drift["kind"] for drift in document["drift"]["drifts"]] == ["gradual"]
    assert {"commit", "environment", "config_hash", "update_cpu_seconds", "rank_cpu_seconds", "costs"} <= set(document)


def test_finished_cells_are_printed_without_running_anything(
    place: tuple[Path, Commands], rows: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, commands = place
    ran = len(commands.names)
    assert bench(folder, "--report") == 0
    out = capsys.readouterr().out
    assert "abrupt: 600 events in 12 windows, seeds 3" in out and "cells missing: none" in out
    assert len(commands.names) == ran


def test_a_result_of_other_sizes_is_refused_by_name(
    place: tuple[Path, Commands], rows: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(PROTOCOL.replace("2_000", "3_000"))
    (tmp_path / "results").symlink_to(place[0] / "results")
    assert bench(tmp_path) == 2
    told = capsys.readouterr().err
    assert "abrupt.s3.json was made with sizes = " in told and told.count("\n") == 1
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("words", "told"), [(("--jobs", "0"), "--jobs: 0"), (("--only", "abrupt.s9"), "--only: no cell")])
def test_a_wrong_option_is_refused(
    place: tuple[Path, Commands], words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(place[0], *words) == 2
    assert told in capsys.readouterr().err


def test_a_failed_check_ends_with_3(
    place: tuple[Path, Commands], rows: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A day's lead where the online part is shorter than a day: the day-old model is the bundle's, and no better than the other
    way round."""
    path = place[0] / "results" / "tiny" / "abrupt.s3.json"
    kept = path.read_text()
    document = json.loads(kept)
    document["ndcg@10"]["adapted"], document["ndcg@10"]["adapted_day_old"] = (
        [0.0] * 12, document["ndcg@10"]["adapted"],
    )  # fmt: skip
    path.write_text(json.dumps(document))
    strict = place[0] / "tiny.toml"
    try:
        strict.write_text(PROTOCOL.replace("[[stream]]", 'fresher_is_better = ["abrupt"]\n[[stream]]', 1))
        assert bench(place[0], "--report") == 3
    finally:
        strict.write_text(PROTOCOL)
        path.write_text(kept)
    assert "abrupt: freshness gain" in capsys.readouterr().err


def calm_stream(events: int = 6_000, hours: int = 288) -> CutState:
    """A log in which nothing ever changes: the same items are popular to the end, for everybody."""
    random = np.random.default_rng(0)
    times = np.sort(START_MS + random.integers(0, hours * HOUR_MS, events))
    items = np.minimum(random.geometric(0.2, events), BASE_ITEMS)
    items[:BASE_ITEMS] = np.arange(1, BASE_ITEMS + 1)
    users, context = random.integers(1, BASE_USERS + 1, events), random.integers(0, 3, (events, 1))
    return CutState([], [], users, items, times, context)


def calm_blocks() -> Blocks:
    """What the benchmark would find on that log, ranked from a day and a half behind the cut on."""
    log = calm_stream()
    loop = loop_over(log, models=MODELS, rank_from_ms=int(log.event_time_ms[CUT]) + 36 * HOUR_MS)
    found = [row for slide in slides(log, CUT, 8 * HOUR_MS) for row in loop.step(slide).windows if row.stratum == "all"]
    ndcg, static = METRICS.index("ndcg@10"), [row for row in found if row.model == "static"]
    sums = {model: np.array([row.sums[ndcg] for row in found if row.model == model]) for model in MODELS}
    starts_ms, events = np.array([row.window_start_ms for row in static]), np.array([row.n for row in static])
    return Blocks.of([WindowSeries(starts_ms, events, sums)])


def test_counts_frozen_one_slide_too_late_make_it_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    # A log this small still learns in a day what a large one knows: the margin is wider than that of drift.toml.
    asked = Equivalence(margin=0.05, events=1_000)
    assert check_equivalence(calm_blocks(), asked).verdict == "holds"

    def leaking(self: AdaptLoop, slide: SlideEvents) -> list[Any]:
        state = copy.deepcopy(self.state)
        state.observe(slide)
        activity = state.counters.freeze(slide.slide_end_ms, self.num_items)
        items = self.folded_items.tables(self.num_items)
        late = publish(self.base, items, self.learners, activity, state, self.newest_event_ms, -slide.slide_end_ms)
        self.published[-1] = late
        return original(self, slide)

    original = AdaptLoop._requests
    monkeypatch.setattr(AdaptLoop, "_requests", leaking)
    seeded = check_equivalence(calm_blocks(), asked)
    assert seeded.verdict == "fails" and seeded.low > 2 * asked.margin
