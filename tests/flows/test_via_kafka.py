"""A replay through a broker makes the versions of a replay from the file, whatever the wire; and of the live run it is told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from live_run import REPOSITORY, LiveRun, json_messages
from local_broker import LocalBroker

from dynmm_core.cli import main
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.model.bundle import Bundle
from dynmm_core.store import LatentStore
from flows.kafka.settings import KafkaSettings
from flows.live.config import LiveConfig
from flows.live.options import FlowOptions, resolve
from flows.live.record import RECORD_FILE, read_record, record_run
from replay import topics
from replay.feed import Feed, FeedTask
from replay.following import _follow
from tests.replay.tiny import bundle_tiny, tiny_events

Hashes = list[tuple[int, str]]
TIMINGS = ("seconds", "peak_rss_mb", "update_cpu_seconds", "rank_cpu_seconds")


def rich_log(folder: Path) -> PreparedLog:
    """The tiny log with every optional column and four of its own, full of holes."""
    events = tiny_events()
    rng, count = np.random.default_rng(5), len(events["timestamp"])

    def holed(values: list[Any]) -> list[Any]:
        return [None if hole else value for value, hole in zip(values, rng.random(count) < 0.3, strict=True)]

    ratings = rng.integers(1, 6, count).astype(float)
    ratings[rng.random(count) < 0.2] = np.nan
    columns = {
        "user_id": [f"u{user}" for user in events["user_id"]],
        "item_id": [f"i{item}" for item in events["item_id"]],
        "timestamp": events["timestamp"],
        "rating": pa.array(holed(ratings.tolist()), pa.float64()),
        "event": holed(rng.choice(["click", "vue ‹é›", 'say "so"'], count).tolist()),
        "ingest_time": pa.array(holed((events["timestamp"] - 86_400_000).tolist()), pa.int64()),  # no skew is checked
        "region": holed(rng.choice(["nord", "süd"], count).tolist()),
        "device": pa.array(holed(rng.integers(0, 4, count).tolist()), pa.int32()),
        "weight": rng.choice([0.5, 2.0, np.nan, np.inf], count),
        "known": pa.array(holed(rng.choice([True, False], count).tolist()), pa.bool_()),
    }
    (folder / "raw").mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "raw" / "interactions.parquet")
    prepare_folder(folder / "raw", folder / "data", Options(name="tiny"))
    return PreparedLog.open(folder / "data")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedLog, Path]:
    folder = tmp_path_factory.mktemp("tiny-via")
    log = rich_log(folder)
    assert {"rating", "event", "ingest_time_ms", "region", "device", "weight"} <= set(log.columns)
    bundle_tiny(log, folder / "bundle", epochs=1)
    return log, folder / "bundle"


@pytest.fixture(scope="module")
def from_file(tiny: tuple[PreparedLog, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a replay from the file."""
    out = tmp_path_factory.mktemp("from-file") / "run"
    assert run_replay(tiny, out)[0] == 0
    return out


def run_replay(tiny: tuple[PreparedLog, Path], out: Path, *more: str, bundle: bool = True) -> tuple[int, Path]:
    """Run `dynmm replay` in this process; its status and run folder."""
    named = ["--bundle", str(tiny[1]), "--threads", "1"] if bundle else []
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(tiny[0].path), *named, "--out", str(out), *more])
    return int(ended.value.code or 0), out


def versions(run: Path) -> Hashes:
    return [(version.slide_end_ms, version.content_hash) for version in LatentStore.open(run / "store").active()]


def topics_of(broker: LocalBroker) -> set[str]:
    found = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": "0"}).list_topics(timeout=10).topics
    return {name for name in found if name.startswith("dynmm-replay-")}


class CountingBar:
    """A progress bar that tells when it is full."""

    def __init__(self, total: int) -> None:
        self.full, self.versions = threading.Event(), list[int]()
        self._left = total

    def advance(self, n: int = 1, **fields: Any) -> None:
        self._left -= n
        self.versions.append(fields["version"])
        if self._left == 0:
            self.full.set()


@pytest.mark.parametrize(("wire", "partitions"), [("json", 1), ("json", 3), ("arrow", 1), ("arrow", 3)])
def test_versions_and_files_are_those_of_a_replay_from_the_file(
    broker: LocalBroker, tiny: tuple[PreparedLog, Path], from_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], wire: str, partitions: int,
) -> None:  # fmt: skip
    via = ["--via-kafka", broker.bootstrap, "--wire", wire, "--partitions", str(partitions), "--json"]
    status, out = run_replay(tiny, tmp_path / "run", *via)
    assert status == 0
    document = json.loads(capsys.readouterr().out)
    assert document["accounting"]["used"] == tiny[0].rows - tiny[0].cut_row
    assert versions(out) == versions(from_file)
    assert pq.read_table(out / "windows.parquet") == pq.read_table(from_file / "windows.parquet")
    metrics, expected = (json.loads((run / "metrics.json").read_text()) for run in (out, from_file))
    assert {**metrics, **{name: expected[name] for name in TIMINGS}} == expected
    assert (out / "accounting.json").read_text() == (from_file / "accounting.json").read_text()
    assert {file.name for file in out.iterdir()} == {file.name for file in from_file.iterdir()}
    assert not topics_of(broker)


def test_a_pace_and_a_shorter_range_make_the_first_versions(
    broker: LocalBroker, tiny: tuple[PreparedLog, Path], from_file: Path, tmp_path: Path
) -> None:
    status, out = run_replay(
        tiny, tmp_path / "run", "--via-kafka", broker.bootstrap, "--speed", "14400", "--max-windows", "5", "--keep-topics"
    )
    assert status == 0
    assert versions(out) == versions(from_file)[:5]
    left = topics_of(broker)
    assert len(left) == 4
    announced = KafkaSettings(bootstrap=broker.bootstrap, versions=next(name for name in left if name.endswith("-versions")))
    bar = CountingBar(338)
    times = tiny[0].read(["event_time_ms"], tiny[0].cut_row, tiny[0].cut_row + 338)["event_time_ms"].to_numpy()
    _follow(announced, times, bar, bar.full)
    assert bar.versions == [0, 1, 2, 3, 4]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": "0"})
    for deleted in admin.delete_topics(list(left)).values():
        deleted.result()


def test_a_run_stopped_on_its_way_through_kafka_is_finished_from_the_file(
    broker: LocalBroker, tiny: tuple[PreparedLog, Path], from_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, via = tmp_path / "run", ["--via-kafka", broker.bootstrap]
    command = ["replay", str(tiny[0].path), "--bundle", str(tiny[1]), "--threads", "1", "--out", str(out), *via]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    arguments = [sys.executable, "-m", "dynmm_core.cli", *command, "--speed", "3600"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    deadline = time.monotonic() + 90
    while not (out / "store" / "latents" / "_delta_log").is_dir() or LatentStore.open(out / "store").head() is None:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1][-3000:]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 2 and "stopped before the log was through" in told, told
    assert not topics_of(broker)
    assert run_replay(tiny, out, *via)[0] == 2
    assert "without --via-kafka finishes it" in capsys.readouterr().err
    assert 0 < len(versions(out)) < len(versions(from_file))
    assert run_replay(tiny, out)[0] == 0
    assert versions(out) == versions(from_file)


def test_the_feed_ends_with_whoever_started_it(broker: LocalBroker, tiny: tuple[PreparedLog, Path]) -> None:
    broker.create_topic("orphan")
    task = FeedTask(
        data=tiny[0].path, bootstrap=broker.bootstrap, topic="orphan", wire="json", speed=1.0, properties={},
        start_row=tiny[0].cut_row, end_row=tiny[0].rows,
    )  # fmt: skip
    feed = Feed(task, lambda: {0: 0})
    try:
        assert feed._process.stdin is not None
        feed._process.stdin.close()
        assert feed._process.wait(timeout=60) == 1
    finally:
        feed.close()
    with pytest.raises(RuntimeError, match="the feed ended before"):
        feed.ends()


def test_what_the_feed_is_refused_is_raised_in_the_flow(broker: LocalBroker, tiny: tuple[PreparedLog, Path]) -> None:
    task = FeedTask(
        data=tiny[0].path, bootstrap=broker.bootstrap, topic="nowhere-at-all", wire="json", speed=None, properties={},
        start_row=tiny[0].cut_row, end_row=tiny[0].rows,
    )  # fmt: skip
    feed = Feed(task, lambda: {0: 0})
    try:
        feed.join()
        with pytest.raises(UserError, match="there is no topic nowhere-at-all"):
            feed.ends()
    finally:
        feed.close()


def test_topics_in_use_are_refused_and_left_alone(
    broker: LocalBroker, tiny: tuple[PreparedLog, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: list[topics.ReplayTopics] = []
    check = topics.ReplayTopics.check

    def occupied(self: topics.ReplayTopics) -> None:
        self.make()
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": "0"})
        producer.produce(self.settings.interactions, b"mine")
        producer.flush()
        asked.append(self)
        check(self)

    monkeypatch.setattr(topics.ReplayTopics, "check", occupied)
    assert run_replay(tiny, tmp_path / "run", "--via-kafka", broker.bootstrap)[0] == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert set(asked[0].names) <= topics_of(broker)
    asked[0].delete()


def test_a_broker_that_does_not_answer_is_told_in_time(
    tiny: tuple[PreparedLog, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "ANSWER_S", 1.0)
    assert run_replay(tiny, tmp_path / "run", "--via-kafka", "127.0.0.1:1")[0] == 2
    assert "no broker answers at 127.0.0.1:1 within 1 s" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


class CappedRun(LiveRun):
    """A live run that samples its slides, and whose name and settings are its own."""

    def options(self, *more: str) -> list[str]:
        found = super().options(*more)
        found[found.index("--max-train-events") + 1] = "20"
        found[found.index("--slide") + 1] = "30m"
        return [*found, "--seed", "3", "--popularity-window", "2h"] if "--out" in found else found


@pytest.fixture(scope="module")
def live(broker: LocalBroker, tiny: tuple[PreparedLog, Path], tmp_path_factory: pytest.TempPathFactory) -> CappedRun:
    run = CappedRun(broker.bootstrap, tmp_path_factory.mktemp("capped"), tiny[1], run="live-7")
    run.make_topics(2)
    run.produce(json_messages(tiny[0], 2))
    run.flow("all", "--drain")
    return run


def test_a_live_run_is_replayed_with_its_own_cap_and_settings(
    live: CappedRun, tiny: tuple[PreparedLog, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = run_replay(tiny, tmp_path / "run", "--like", str(live.out), "--json", bundle=False)
    assert status == 0
    document = json.loads(capsys.readouterr().out)
    assert versions(out) == live.versions()
    slides = len(live.versions())
    assert document["like"] == {"run": str(live.out), "slides": slides, "equal": slides, "first_difference_ms": None}
    lineages = [version.lineage for version in LatentStore.open(out / "store").active()]
    assert max(lineage["events"] for lineage in lineages) == 20 < max(lineage.get("counted", 0) for lineage in lineages)


def test_a_live_run_is_replayed_through_a_broker_too(
    live: CappedRun, broker: LocalBroker, tiny: tuple[PreparedLog, Path], tmp_path: Path
) -> None:
    status, out = run_replay(tiny, tmp_path / "run", "--like", str(live.out), "--via-kafka", broker.bootstrap, bundle=False)
    assert status == 0
    assert versions(out) == live.versions()


def test_the_record_of_a_run_stays_once_it_has_versions(live: CappedRun, tiny: tuple[PreparedLog, Path], tmp_path: Path) -> None:
    before = (live.out / RECORD_FILE).read_bytes()

    def config(out: Path, slide: str) -> LiveConfig:
        return resolve("adapt", FlowOptions(bootstrap="nowhere:1", bundle=tiny[1], out=out, slide=slide), drain=False).config

    record_run(config(live.out, "5m"))
    assert (live.out / RECORD_FILE).read_bytes() == before
    for slide, slide_ms in (("5m", 300_000), ("10m", 600_000)):
        record_run(config(tmp_path / "fresh", slide))
        assert read_record(tmp_path / "fresh").stream.slide_ms == slide_ms


def test_another_bundle_than_that_of_the_live_run_is_refused(
    live: CappedRun, tiny: tuple[PreparedLog, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle_tiny(tiny[0], tmp_path / "other", epochs=0)
    more = ["--like", str(live.out), "--bundle", str(tmp_path / "other")]
    assert run_replay(tiny, tmp_path / "run", *more, bundle=False)[0] == 2
    assert "is not the one that" in capsys.readouterr().err


def test_another_cap_makes_other_versions_and_that_is_told(
    live: CappedRun, tiny: tuple[PreparedLog, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--max-train-events", "off", "--max-windows", "2"]
    assert run_replay(tiny, tmp_path / "run", "--like", str(live.out), *more, bundle=False)[0] == 0
    assert "0 of 4 versions equal those of" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda run: (run / "live.json").unlink(), "is no live run"),
        (lambda run: (run / "live.json").write_text("{}"), "is no record of this version"),
        (lambda run: LatentStore.open(run / "store").rollback(3), "was rolled back"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    live: CappedRun, tiny: tuple[PreparedLog, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], object], told: str,
) -> None:  # fmt: skip
    run = tmp_path / "live"
    shutil.copytree(live.out, run)
    damage(run)
    assert run_replay(tiny, tmp_path / "run", "--like", str(run), bundle=False)[0] == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_with_an_idle_cut_is_refused(
    live: CappedRun, tiny: tuple[PreparedLog, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    active = LatentStore.active

    def with_a_cut(store: LatentStore) -> list[Any]:
        found = active(store)
        return [replace(found[0], lineage={**found[0].lineage, "idle_cuts": [[0, 7, 3_600_000]]}), *found[1:]]

    monkeypatch.setattr(LatentStore, "active", with_a_cut)
    assert run_replay(tiny, tmp_path / "run", "--like", str(live.out), bundle=False)[0] == 2
    assert "declared a partition idle" in capsys.readouterr().err


@pytest.fixture(scope="module")
def with_context(tiny: tuple[PreparedLog, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedLog, Path]:
    bundle = tmp_path_factory.mktemp("context") / "bundle"
    bundle_tiny(tiny[0], bundle, epochs=1, with_context=True)
    assert {name: len(values) for name, values in Bundle.load(bundle).context.values.items()} == {
        "region": 2, "device": 4, "weight": 2, "known": 2,
    }  # fmt: skip
    return tiny[0], bundle


@pytest.fixture(scope="module")
def context_from_file(with_context: tuple[PreparedLog, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("context-from-file") / "run"
    assert run_replay(with_context, out)[0] == 0
    return out


@pytest.mark.parametrize(("wire", "partitions"), [("json", 1), ("arrow", 3)])
def test_context_comes_through_kafka_as_from_the_file(
    broker: LocalBroker, with_context: tuple[PreparedLog, Path], context_from_file: Path, from_file: Path, tmp_path: Path,
    wire: str, partitions: int,
) -> None:  # fmt: skip
    via = ["--via-kafka", broker.bootstrap, "--wire", wire, "--partitions", str(partitions)]
    status, out = run_replay(with_context, tmp_path / "run", *via)
    assert status == 0
    assert versions(out) == versions(context_from_file)
    assert not {content for _, content in versions(out)} & {content for _, content in versions(from_file)}
