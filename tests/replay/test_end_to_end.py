"""The promise of a replay, through the whole of it: same log, same versions; no event is ranked with what came after it."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynmm_core.adapt.loop import AdaptLoop, StepResult
from dynmm_core.adapt.published import publish
from dynmm_core.adapt.settings import DEFAULT_MODELS
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.errors import UserError
from dynmm_core.store.latents import LatentStore
from dynmm_core.store.version import Version
from replay.config import merge_options
from replay.runner import Outcome, ReplayRequest, read_outcome, replay_log
from replay.streaming import Workers
from simulators.settings import cut_time_ms
from tests.replay.tiny import EVENTS, HOUR_MS, WINDOWS, bundle_tiny, poisoned, prepare_tiny, tiny_events

MIDDLE_MS = cut_time_ms() + WINDOWS // 2 * HOUR_MS
TIMINGS = ("seconds", "peak_rss_mb", "update_cpu_seconds", "rank_cpu_seconds")
# One thread, because the machine that runs the tests may be busy.
OPTIONS: dict[str, Any] = {"threads": 1, "store_every": 5}
# A window spans several slides, and a request may see an older version than the newest.
FINE = {**OPTIONS, "slide": "15m", "publish_delay": "40m", "history": "version", "max_windows": 8}


@dataclass(frozen=True)
class Tiny:
    """Folders of one prepared log and its bundle."""

    data: Path
    bundle: Path

    @classmethod
    def make(cls, folder: Path, events: dict[str, Any]) -> "Tiny":
        bundle_tiny(prepare_tiny(folder, events), folder / "bundle")
        return cls(folder / "data", folder / "bundle")

    def request(self, out: Path, options: dict[str, Any] = OPTIONS, **workers: int) -> ReplayRequest:
        return ReplayRequest(
            data=self.data, bundle=self.bundle, out=out, options=merge_options(options, {}), workers=Workers(**workers)
        )

    def replay(self, out: Path, options: dict[str, Any] = OPTIONS, **workers: int) -> Outcome:
        return replay_log(self.request(out, options, **workers))


@dataclass(frozen=True)
class Found:
    """All that a run leaves, timings apart."""

    hashes: list[str]
    metrics: dict[str, Any]
    windows: pa.Table

    @classmethod
    def of(cls, run: Path) -> "Found":
        metrics = json.loads((run / "metrics.json").read_text())
        assert set(TIMINGS) <= set(metrics)
        hashes = [version.content_hash for version in versions(run)]
        return cls(
            hashes, {key: value for key, value in metrics.items() if key not in TIMINGS}, pq.read_table(run / "windows.parquet")
        )


def versions(run: Path) -> list[Version]:
    return LatentStore.open(run / "store").log()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny.make(tmp_path_factory.mktemp("tiny"), tiny_events())


@pytest.fixture(scope="session")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Found:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    tiny.replay(out)
    return Found.of(out)


def test_results_have_the_promised_fields(undisturbed: Found) -> None:
    assert list(undisturbed.metrics) == [
        "dataset", "protocol", "history", "seed", "config_hash", "windows", "events", "store_version", "models",
        "drift_alarms",
    ]  # fmt: skip
    assert list(undisturbed.metrics["models"]) == list(DEFAULT_MODELS)
    assert undisturbed.metrics["windows"] == WINDOWS
    assert (
        undisturbed.metrics["events"] == round(0.3 * EVENTS) == sum(undisturbed.windows["n"].to_pylist()) // len(DEFAULT_MODELS)
    )
    assert undisturbed.metrics["store_version"] == len(undisturbed.hashes) - 1
    adapted = undisturbed.metrics["models"]["adapted"]
    assert adapted["hr@20"] <= adapted["candidate_recall"] <= 1
    assert 0 < adapted["ndcg@10"] < adapted["hr@10"] < 1
    assert adapted["strata"]["session_first"]["n"] + adapted["strata"]["session_later"]["n"] == undisturbed.metrics["events"]


@pytest.mark.parametrize(
    "workers",
    [
        {"batch_size": 1},
        {"batch_size": 1_000},
        {"batch_size": 100_000},
        {"partitions": 4, "batch_size": 500},
        {"processes": 2},
        {"processes": 2, "partitions": 4, "batch_size": 1_000},
    ],
    ids=lambda workers: " ".join(f"{name}={value}" for name, value in workers.items()),
)
def test_same_log_same_versions_however_the_work_is_spread(
    tiny: Tiny, undisturbed: Found, tmp_path: Path, workers: dict[str, int]
) -> None:
    tiny.replay(tmp_path / "run", **workers)

    assert Found.of(tmp_path / "run") == undisturbed


def test_a_capped_replay_samples_alike_however_the_work_is_spread(tiny: Tiny, undisturbed: Found, tmp_path: Path) -> None:
    capped = {**OPTIONS, "max_train_events": "50"}
    tiny.replay(tmp_path / "one", capped)
    tiny.replay(tmp_path / "many", capped, processes=2, partitions=4, batch_size=500)
    found = Found.of(tmp_path / "one")

    assert Found.of(tmp_path / "many") == found
    assert not set(found.hashes) & set(undisturbed.hashes)
    lineages = [version.lineage for version in versions(tmp_path / "one")]
    assert found.metrics["events"] == sum(lineage["events"] for lineage in lineages) < undisturbed.metrics["events"]
    assert max(lineage["events"] for lineage in lineages) == 50
    assert sum(lineage.get("counted", lineage["events"]) for lineage in lineages) == undisturbed.metrics["events"]


def test_another_seed_gives_other_versions(tiny: Tiny, undisturbed: Found, tmp_path: Path) -> None:
    tiny.replay(tmp_path / "run", {**OPTIONS, "seed": 1})

    assert not set(Found.of(tmp_path / "run").hashes) & set(undisturbed.hashes)


def test_a_shortened_replay_gives_the_first_versions_of_the_full_one(tiny: Tiny, undisturbed: Found, tmp_path: Path) -> None:
    tiny.replay(tmp_path / "run", {**OPTIONS, "max_windows": 3})

    assert Found.of(tmp_path / "run").hashes == undisturbed.hashes[:3]


@pytest.mark.parametrize(("options", "processes"), [(OPTIONS, 2), (FINE, 1)], ids=["two processes", "fine slides, delayed"])
def test_killed_in_the_middle_and_resumed_equals_undisturbed(
    tiny: Tiny, undisturbed: Found, tmp_path: Path, options: dict[str, Any], processes: int
) -> None:
    if options is FINE:
        tiny.replay(tmp_path / "undisturbed", options)
        undisturbed = Found.of(tmp_path / "undisturbed")
    whole = len(undisturbed.hashes)
    run = tmp_path / "run"
    kill_after(whole * 3 // 4, command(tiny, run, options, processes), run)
    assert 0 < len(versions(run)) < whole
    assert not (run / "metrics.json").exists()
    tiny.replay(run, options, processes=processes)

    assert Found.of(run) == undisturbed
    assert len((run / "attempts.jsonl").read_text().splitlines()) == 2


def command(tiny: Tiny, run: Path, options: dict[str, Any], processes: int) -> list[str]:
    given = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    paths = [str(tiny.data), "--bundle", str(tiny.bundle), "--out", str(run)]
    return [sys.executable, "-m", "dynmm_core.cli", "replay", *paths, *given, "--processes", str(processes)]


def kill_after(commits: int, arguments: list[str], run: Path) -> None:
    """Start the command and kill it, hard, once its store holds so many commits; the run must not have ended before."""
    log = run / "store" / "latents" / "_delta_log"
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + 120
        # The table's creation is an entry of the log, too.
        while not log.is_dir() or sum(1 for _ in log.glob("*.json")) <= commits:
            assert process.poll() is None, f"the run ended with {process.returncode} before it could be killed"
            assert time.monotonic() < deadline, "the run takes too long"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until_free(run)


def wait_until_free(run: Path) -> None:
    """Wait until no worker of a killed run commits any more: they die with their parent, a moment later."""
    before, now = -1, 0
    while before != now:
        time.sleep(0.5)
        before, now = now, len(versions(run))


@pytest.mark.parametrize("moment_ms", [MIDDLE_MS, MIDDLE_MS + 17 * 60_000], ids=["hour", "inside"])
@pytest.mark.parametrize("history", ["event", "version"])
def test_poisoning_the_future_changes_no_earlier_prediction(tiny: Tiny, tmp_path: Path, moment_ms: int, history: str) -> None:
    assert poisoning_tells(tiny, tmp_path, moment_ms, history) == []


def test_features_that_are_not_frozen_are_caught_by_poisoning(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen_step = AdaptLoop.step

    def leaking_step(loop: AdaptLoop, slide: SlideEvents) -> StepResult:
        """Serve features as of the slide's end, its own events among them."""
        state = copy.deepcopy(loop.state)
        state.observe(slide)
        known = max(loop.num_items, int(slide.item_idx.max()))
        peeked = state.counters.freeze(slide.slide_end_ms, known, summaries=True)
        version = publish(
            loop.base, loop.folded_items.tables(known), loop.learners, peeked, state, loop.newest_event_ms, -peeked.as_of_ms
        )
        loop.published = deque([version])
        return frozen_step(loop, slide)

    monkeypatch.setattr(AdaptLoop, "step", leaking_step)

    told = poisoning_tells(tiny, tmp_path, MIDDLE_MS + 17 * 60_000, "event")
    assert {"window_popularity", "adapted"} <= set(told)


def poisoning_tells(tiny: Tiny, folder: Path, moment_ms: int, history: str) -> list[str]:
    """Replay up to a moment with the events from it on as they are and replaced; return the models that differ."""
    other = Tiny.make(folder / "poisoned", poisoned(tiny_events(), moment_ms))
    options = {**OPTIONS, "slide": "30m", "history": history, "to": str(moment_ms)}
    rows = [log.replay(folder / name, options) and windows_by_model(folder / name) for name, log in (("a", tiny), ("b", other))]
    past = [
        [(version.state, version.rows) for version in versions(folder / name) if version.slide_end_ms <= moment_ms]
        for name in ("a", "b")
    ]
    assert len(past[0]) > 5
    differing = [model for model in rows[0] if rows[0][model] != rows[1][model]]
    return differing or ([] if past[0] == past[1] else ["trainer state"])


def windows_by_model(run: Path) -> dict[str, list[dict[str, Any]]]:
    rows = pq.read_table(run / "windows.parquet").to_pylist()
    return {model: [row for row in rows if row["model"] == model] for model in dict.fromkeys(row["model"] for row in rows)}


def test_the_poison_reaches_what_comes_after_it(tiny: Tiny, tmp_path: Path) -> None:
    moment_ms = MIDDLE_MS
    other = Tiny.make(tmp_path / "poisoned", poisoned(tiny_events(), moment_ms))
    options = {**OPTIONS, "from": str(moment_ms + HOUR_MS), "max_windows": 2}
    tiny.replay(tmp_path / "a", options)
    other.replay(tmp_path / "b", options)

    clean, changed = windows_by_model(tmp_path / "a"), windows_by_model(tmp_path / "b")
    assert all(clean[model] != changed[model] for model in clean)


def test_without_learning_and_summaries_adapted_equals_static(tiny: Tiny, tmp_path: Path) -> None:
    models = tiny.replay(
        tmp_path / "run", {**OPTIONS, "adapter_lr": 0.0, "summaries": False, "online": {"fold_in": False}}
    ).metrics["models"]

    static, adapted = ({**models[name], "staleness_ms": None} for name in ("static", "adapted_latents"))
    assert adapted == static


def test_a_finished_run_is_refused_and_left_as_it_is(tiny: Tiny, tmp_path: Path) -> None:
    outcome = tiny.replay(tmp_path / "run", {**OPTIONS, "max_windows": 2})
    before = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}

    with pytest.raises(UserError, match="finished"):
        tiny.replay(tmp_path / "run", {**OPTIONS, "max_windows": 2})
    with pytest.raises(UserError, match="another run"):
        tiny.replay(tmp_path / "run", {**OPTIONS, "max_windows": 2, "seed": 1})
    assert {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()} == before
    assert read_outcome(tmp_path / "run") == outcome


def test_a_saved_split_replays_the_very_events(tiny: Tiny, tmp_path: Path) -> None:
    asked = tiny.request(tmp_path / "a", {**OPTIONS, "max_windows": 2, "from": str(MIDDLE_MS)})
    named = tiny.request(tmp_path / "b", OPTIONS)
    first = replay_log(ReplayRequest(**{**vars(asked), "save_split": tmp_path / "split.json"}))
    second = replay_log(ReplayRequest(**{**vars(named), "split": tmp_path / "split.json"}))

    assert Found.of(second.run) == Found.of(first.run)
    with pytest.raises(UserError, match="fixes the range"):
        replay_log(ReplayRequest(**{**vars(asked), "out": tmp_path / "c", "split": tmp_path / "split.json"}))


def test_a_bundle_for_other_data_is_refused_before_anything_is_written(tiny: Tiny, tmp_path: Path) -> None:
    other = Tiny.make(tmp_path / "other", tiny_events(seed=1))

    with pytest.raises(UserError, match="--bundle: made for tiny"):
        Tiny(other.data, tiny.bundle).replay(tmp_path / "run")
    assert not (tmp_path / "run").exists()
