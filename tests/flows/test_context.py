"""A bundle that knows requests by their context works on a live stream as in a replay, whatever befalls the run."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from live_run import LiveRun
from local_broker import LocalBroker

from dynmm_core.cli import main
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.dataset_file import DATASET_FILE
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.events.encode import encode_arrow, encode_json
from dynmm_core.events.hashing import hash64
from dynmm_core.model.bundle import Bundle
from dynmm_core.store import LatentStore
from simulators.stream import draw_stream
from simulators.world import StreamSettings, make_world
from tests.replay.tiny import bundle_tiny

Messages = dict[int, list[tuple[bytes, int]]]
Hashes = list[tuple[int, str]]
PARTITIONS, KILLED = 2, -9


@dataclass(frozen=True)
class Known:
    """A log with columns that describe requests, a bundle that knows them, and the versions of a replay from the file."""

    log: PreparedLog
    bundle: Path
    versions: Hashes
    slides: list[str]


def versions(run: Path) -> Hashes:
    return [(version.slide_end_ms, version.content_hash) for version in LatentStore.open(run / "store").active()]


def replayed(log: PreparedLog, bundle: Path, out: Path, *more: str) -> Hashes:
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(log.path), "--bundle", str(bundle), "--threads", "1", "--out", str(out), *more])
    assert not ended.value.code
    return versions(out)


def log_with_context(folder: Path, **other: object) -> PreparedLog:
    """Eight hours of clicks; a region that is text or null, a device that is a number, a screen that is half of one."""
    stream = draw_stream(make_world(StreamSettings(events=3_000, users=120, items=60, online_hours=8)))
    rng, count = np.random.default_rng(5), len(stream.event_time_ms)
    regions = np.array(["nord", "süd", 'say "so"', None], object)
    columns: dict[str, object] = {
        "user_id": [f"u{user}" for user in stream.user],
        "item_id": [f"i{item}" for item in stream.item],
        "timestamp": stream.event_time_ms,
        "region": pa.array(regions[(stream.item + rng.integers(0, 2, count)) % 4], pa.string()),
        "device": pa.array(rng.integers(0, 5, count), pa.int32()),
        "screen": rng.choice([1.0, 1.5, np.nan], count),
    }
    columns |= {name: pa.array([value] * count, pa.string()) for name, value in other.items()}
    (folder / "raw").mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "raw" / "interactions.parquet")
    prepare_folder(folder / "raw", folder / "data", Options(name="known"))
    return PreparedLog.open(folder / "data")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    folder = tmp_path_factory.mktemp("known")
    log = log_with_context(folder)
    bundle_tiny(log, folder / "bundle", epochs=1, with_context=True)
    assert {name: len(values) for name, values in Bundle.load(folder / "bundle").context.values.items()} == {
        "region": 3, "device": 5, "screen": 2,
    }  # fmt: skip
    found = replayed(log, folder / "bundle", folder / "run")
    slides = [version.lineage["slide_hash"] for version in LatentStore.open(folder / "run" / "store").active()]
    return Known(log, folder / "bundle", found, slides)


def messages_of(log: PreparedLog, form: str = "json", drop: tuple[str, ...] = ()) -> Messages:
    """The online part of a log by partition of its user: as one JSON message per event, or as one Arrow message."""
    events = log.read(None, log.cut_row, log.rows).drop_columns(list(drop)).combine_chunks().to_batches()[0]
    homes = hash64(events["user_id"]) % PARTITIONS
    messages: Messages = {}
    for home in range(PARTITIONS):
        some = events.filter(pa.array(homes == home))
        times = some["event_time_ms"].to_pylist()
        values = encode_json(some) if form == "json" else [encode_arrow(some)]
        messages[home] = list(zip(values, times[-len(values) :], strict=True))
    return messages


@pytest.fixture
def run(broker: LocalBroker, known: Known, tmp_path: Path) -> LiveRun:
    run = LiveRun(broker.bootstrap, tmp_path, known.bundle)
    run.make_topics(PARTITIONS)
    return run


def test_two_flows_that_are_killed_make_the_versions_of_a_replay(run: LiveRun, known: Known) -> None:
    run.produce(messages_of(known.log))
    run.flow("summarize", "--drain", status=KILLED, DYNMM_CRASH_AT="before-end-marker:30")
    run.flow("summarize", "--drain", "--processes", "2")
    run.flow("adapt", status=KILLED, DYNMM_CRASH_AT="after-store-commit:3")
    assert run.versions() == known.versions[:3]
    run.flow("adapt")  # takes the first three from its journal, and refuses them if they are other slides
    assert run.versions() == known.versions


def test_both_in_one_go_on_behind_a_rollback_with_the_same_slides(run: LiveRun, known: Known) -> None:
    run.produce(messages_of(known.log, "arrow"))
    run.flow("all", status=KILLED, DYNMM_CRASH_AT="after-store-commit:4")
    assert run.versions() == known.versions[:4]
    with pytest.raises(SystemExit) as ended:
        main(["store", "rollback", str(run.out), "1"])
    assert not ended.value.code
    run.flow("all", "--drain")
    assert run.versions()[:2] == known.versions[:2]
    found = LatentStore.open(run.out / "store").active()
    assert [version.lineage["slide_hash"] for version in found] == known.slides


def test_a_sample_has_its_own_context(run: LiveRun, known: Known, tmp_path: Path) -> None:
    run.produce(messages_of(known.log))
    run.options = sampled(run)  # type: ignore[method-assign]
    run.flow("all", "--drain")
    assert run.versions() != known.versions
    assert replayed(known.log, known.bundle, tmp_path / "like", "--like", str(run.out)) == run.versions()


def sampled(run: LiveRun) -> Callable[..., list[str]]:
    given = run.options

    def options(*more: str) -> list[str]:
        found = given(*more)
        found[found.index("--max-train-events") + 1] = "20"
        return found

    return options


def test_what_no_message_has_is_other_as_a_null_is_and_is_told(run: LiveRun, known: Known, tmp_path: Path) -> None:
    nulls = log_with_context(tmp_path / "nulls", region=None)
    assert nulls.fingerprint == known.log.fingerprint
    run.produce(messages_of(known.log, drop=("region",)))
    told = run.flow("all", "--drain")
    assert told["accounting_closes"]
    assert run.versions() == replayed(nulls, known.bundle, tmp_path / "replay") != known.versions
    shares = [version.metrics["context_known"] for version in LatentStore.open(run.out / "store").active()]
    assert {share["region"] for share in shares} == {0.0} and all(0.5 < share["screen"] < 0.8 for share in shares)


def test_a_log_without_the_columns_is_refused(known: Known, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(known.log.path, tmp_path / "data")
    described = tmp_path / "data" / DATASET_FILE
    lines = described.read_text().splitlines()
    described.write_text("\n".join(line for line in lines if "region" not in line and "device" not in line))
    assert set(known.log.columns) - set(PreparedLog.open(tmp_path / "data").columns) == {"region", "device"}
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(tmp_path / "data"), "--bundle", str(known.bundle), "--out", str(tmp_path / "run")])
    assert ended.value.code == 2 and not (tmp_path / "run").exists()
    told = " ".join(capsys.readouterr().err.split())
    assert "knows requests by region, device, which" in told and "dynmm pretrain" in told
