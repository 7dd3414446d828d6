"""The replay command refuses bad requests with exit code 2, one clear line, and nothing written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynmm_core.cli import main
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from tests.replay.tiny import bundle_tiny, prepare_tiny, tiny_events


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run `dynmm replay` and return the one line on stderr of its refusal."""
    with pytest.raises(SystemExit) as ended:
        main(["replay", *arguments])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1, told.err
    return told.err


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of a replay that would work."""
    folder = tmp_path_factory.mktemp("commands")
    bundle_tiny(prepare_tiny(folder, tiny_events()), folder / "bundle", epochs=0)
    return [str(folder / "data"), "--bundle", str(folder / "bundle"), "--threads", "1"]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--slide", "7m", "--slide: 7m is no multiple of 5m"),
        ("--publish-delay", "soon", "--publish-delay: 'soon' is no duration"),
        ("--models", "magic", "--models: 'magic' is no model"),
        ("--from", "1507226400", "--from: 1507226400 looks like seconds"),
        ("--to", "2001-01-01", "--to 2001-01-01T00:00:00Z: no online event"),
        ("--max-windows", "0", "--max-windows: 0"),
        ("--split", "nowhere.json", "nowhere.json cannot be read"),
        ("--protocol", "nowhere.toml", "nowhere.toml cannot be read"),
        ("--processes", "0", "--processes: 0"),
        ("--batch-size", "0", "--batch-size: 0"),
        ("--partitions", "1000", "--partitions: 1000"),
        ("--max-train-events", "0", "--max-train-events: '0'"),
        ("--like", "nowhere", "nowhere is no live run"),
        ("--truth", "nowhere", "nowhere: No such file or directory; name a truth file"),
        ("--speed", "3600", "--speed: goes with --via-kafka"),
        ("--wire", "arrow", "--wire: goes with --via-kafka"),
        ("--property", "a=b", "--property: goes with --via-kafka"),
    ],
)
def test_a_wrong_option_is_named_with_its_value(
    ready: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, told: str
) -> None:
    assert told in refusal([*ready, "--out", str(tmp_path / "run"), option, value], capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--speed", "fast"], "--speed: 'fast' is neither a number above 0 nor max"),
        (["--processes", "2"], "--processes: 2, but --via-kafka runs in one process"),
        (["--property", "group.id"], "--property: 'group.id' is not key=value"),
        (["--property", "group.id=x"], "--property: group.id is set by the flow itself"),
        (["--property", "no.such.setting=x"], "--property: "),
        (["--property", "sasl.password=${NO_SUCH_VARIABLE}"], "the environment has no NO_SUCH_VARIABLE"),
    ],
)
def test_a_wrong_way_through_kafka_is_told_before_a_broker_is_asked(
    ready: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert told in refusal([*ready, "--out", str(tmp_path / "run"), "--via-kafka", "127.0.0.1:1", *options], capsys)
    assert not (tmp_path / "run").exists()


def test_a_column_that_json_cannot_carry_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = prepare_tiny(tmp_path, tiny_events())
    table = pq.read_table(log.interactions_path)
    raw = table.select(["user_id", "item_id"]).append_column("timestamp", table["event_time_ms"])
    raw = raw.append_column("blob", pa.array([b"x"] * table.num_rows, pa.binary()))
    (tmp_path / "with-blob").mkdir()
    pq.write_table(raw, tmp_path / "with-blob" / "interactions.parquet")
    prepare_folder(tmp_path / "with-blob", tmp_path / "blob", Options(name="blob"))
    bundle_tiny(PreparedLog.open(tmp_path / "blob"), tmp_path / "bundle", epochs=0)
    arguments = [str(tmp_path / "blob"), "--bundle", str(tmp_path / "bundle"), "--out", str(tmp_path / "run")]
    assert "--wire: json cannot carry the column blob" in refusal([*arguments, "--via-kafka", "127.0.0.1:1"], capsys)


def test_a_replay_needs_a_bundle(ready: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--bundle: missing" in refusal([ready[0], "--out", str(tmp_path / "run")], capsys)


def test_what_is_no_prepared_log_or_no_bundle_is_refused(
    ready: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run")]

    assert "is no prepared log" in refusal([str(tmp_path), *ready[1:], *out], capsys)
    assert "holds no bundle.json" in refusal([ready[0], "--bundle", str(tmp_path), *out], capsys)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_is_left_alone(ready: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    assert "is no run" in refusal([*ready, "--out", str(tmp_path)], capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_json_is_one_document_and_the_table_names_run_and_store(
    ready: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    for extra in ([], ["--json"]):
        out = tmp_path / f"run{len(extra)}"
        with pytest.raises(SystemExit) as ended:
            main(["replay", *ready, "--out", str(out), "--max-windows", "2", *extra])
        assert not ended.value.code
        printed = capsys.readouterr().out
        if extra:
            document = json.loads(printed)
            assert {**document, **json.loads((out / "metrics.json").read_text())} == document
            assert document["run"] == str(out)
        else:
            assert all(name in printed for name in ("static", "window_popularity", "adapted", "NDCG@10", str(out / "store")))
