"""The embedded dataflow: the same slides for one log however it runs, every event accounted for, failures as they were."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bytewax.testing import run_main
from flow_log import ROWS, slides_of, write_log

from dynmm_core.datasets.dataset_file import FACTS_KEY
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.windows.intake import Intake
from flows.config import FlowConfig
from flows.embedded import build
from flows.process import FlowProcess
from flows.run import run_embedded

HOUR_MS = 3_600_000
Configure = Callable[..., FlowConfig]


@pytest.fixture(scope="module")
def undisturbed(log: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    from dynmm_core.adapt.settings import AdaptSettings

    run_dir = tmp_path_factory.mktemp("undisturbed")
    adapt = AdaptSettings(bundle=run_dir, run_dir=run_dir, config_hash="test")
    config = FlowConfig(data=log, run_dir=run_dir, adapt=adapt, engine="fake_engine:open_engine")
    run_embedded(config)
    return slides_of(config)


def test_slides_are_the_logs_events_by_hour(log: Path, undisturbed: list[dict[str, Any]]) -> None:
    times = PreparedLog.open(log).read(["event_time_ms"])["event_time_ms"].to_numpy()
    expected = Counter(((times // HOUR_MS + 1) * HOUR_MS).tolist())
    assert {line["end"]: line["events"] for line in undisturbed} == expected
    assert [line["end"] for line in undisturbed] == sorted(expected)
    assert all(line["counted"] == line["events"] and line["start"] == line["end"] - HOUR_MS for line in undisturbed)


@pytest.mark.parametrize(
    ("batch_size", "partitions", "processes"),
    [(1, 1, 1), (1, 4, 1), (7, 3, 1), (1000, 1, 1), (1000, 4, 1), (100_000, 2, 1), (1, 1, 2), (1000, 4, 2)],
)
def test_batches_partitions_and_processes_change_no_slide(
    configure: Configure, undisturbed: list[dict[str, Any]], batch_size: int, partitions: int, processes: int
) -> None:
    config = configure(batch_size=batch_size, partitions=partitions)
    result = run_embedded(config, processes)
    assert slides_of(config) == undisturbed
    assert result.accounting.model_dump() == {
        "read": ROWS, "used": ROWS, "late": 0, "duplicate": 0, "dead": 0, "pending": 0,
    }  # fmt: skip
    assert json.loads((config.run_dir / "accounting.json").read_text()) == result.accounting.model_dump()
    assert (result.progress.slides, result.progress.events) == (len(undisturbed), ROWS)
    assert result.progress.content_hash == undisturbed[-1]["digest"]


def test_a_run_reads_from_its_first_row_to_before_its_end_time(
    configure: Configure, log: Path, undisturbed: list[dict[str, Any]]
) -> None:
    cut = PreparedLog.open(log).cut_row
    end_ms = undisturbed[-3]["end"]
    config = configure(start_row=cut, end_time_ms=end_ms, partitions=2)
    result = run_embedded(config)
    times = PreparedLog.open(log).read(["event_time_ms"])["event_time_ms"].to_numpy()
    assert result.accounting.read == result.accounting.used == int((times[cut:] < end_ms).sum())
    slides = slides_of(config)
    assert slides[0]["start"] <= times[cut] < slides[0]["end"]
    assert slides[0]["events"] == int((times[cut:] < slides[0]["end"]).sum())
    assert slides[1:] == [line for line in undisturbed if slides[0]["end"] < line["end"] <= end_ms]


def test_a_run_without_rows_ends_at_once(configure: Configure) -> None:
    result = run_embedded(configure(start_row=ROWS))
    assert (result.accounting.read, result.progress.slides, result.progress.version) == (0, 0, None)


def test_all_columns_are_carried_unless_some_are_named(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    import fake_engine

    seen: list[list[str]] = []
    original = fake_engine.RecordingEngine.on_slide

    def note_columns(engine: Any, slide: Any) -> Any:
        seen.append(slide.events.column_names)
        return original(engine, slide)

    monkeypatch.setattr(fake_engine.RecordingEngine, "on_slide", note_columns)
    run_embedded(configure())
    run_embedded(configure(columns=("event_id", "user_id", "item_id", "event_time_ms")))
    assert seen[0] == ["event_time_ms", "event_id", "user_id", "item_id", "zone"]
    assert seen[-1] == ["event_time_ms", "event_id", "user_id", "item_id"]


def test_late_and_repeated_events_are_counted_and_kept(configure: Configure, tmp_path: Path) -> None:
    folder = write_log(tmp_path / "unsorted")
    file = folder / "interactions.parquet"
    table = pq.read_table(file)
    # One event of the first slide comes last; one comes twice in its slide; one comes again when its slide has closed.
    hours = table["event_time_ms"].to_numpy() // HOUR_MS
    closing = int(np.flatnonzero(hours == hours[0] + 1)[0])
    order = [*range(1, 3), 2, *range(4, closing + 1), 4, *range(closing + 1, ROWS - 2), 0]
    assert len(order) == ROWS - 1 and hours[4] == hours[0]
    order.insert(1, 3)
    facts = pq.read_metadata(file).metadata[FACTS_KEY]
    with pq.ParquetWriter(file, table.schema) as writer:
        writer.write_table(table.take(pa.array(order)))
        writer.add_key_value_metadata({FACTS_KEY: facts})
    config = configure(data=folder, batch_size=100)
    accounting = run_embedded(config).accounting
    assert accounting.model_dump() == {
        "read": ROWS, "used": ROWS - 3, "late": 1, "duplicate": 2, "dead": 0, "pending": 0,
    }  # fmt: skip
    (late,) = map(json.loads, (config.run_dir / "late_events.jsonl").read_text().splitlines())
    assert late["event"]["event_id"] == table["event_id"][0].as_py()
    assert (late["topic"], late["partition"], late["offset"]) == ("source", 0, ROWS - 1)
    assert late["late_by_ms"] > 30 * HOUR_MS
    assert not (config.run_dir / "dead_letters.jsonl").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_events_from_the_future_are_dead_letters(configure: Configure, tmp_path: Path, processes: int) -> None:
    folder = write_log(
        tmp_path / "skewed", ingest_time=[1_700_000_000_000 if row in (2990, 2999) else None for row in range(ROWS)]
    )
    config = configure(data=folder, max_skew_ms=HOUR_MS, partitions=2)
    accounting = run_embedded(config, processes).accounting
    assert (accounting.dead, accounting.used) == (2, ROWS - 2)
    letters = [json.loads(line) for line in (config.run_dir / "dead_letters.jsonl").read_text().splitlines()]
    ingested = PreparedLog.open(folder).read(["ingest_time_ms"])["ingest_time_ms"].to_pylist()
    skewed = [row for row, ingest_time_ms in enumerate(ingested) if ingest_time_ms is not None]
    assert sorted(letter["offset"] for letter in letters) == skewed
    assert all("ms after ingest_time_ms" in letter["reason"] for letter in letters)
    assert all(json.loads(letter["raw"])["user_id"].startswith("u") for letter in letters)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_refusal_by_the_engine_reaches_the_caller_as_it_was(
    configure: Configure, processes: int, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configure(engine="fake_engine:open_failing", partitions=2)
    with pytest.raises(UserError) as raised:
        run_embedded(config, processes)
    assert str(raised.value) == "slide_end_ms: the third slide is refused; give another"
    assert "panicked" not in capfd.readouterr().err
    assert len(slides_of(config)) == 3


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bug_in_a_step_reaches_the_caller_with_its_place(configure: Configure, processes: int) -> None:
    with pytest.raises(KeyError, match="nothing") as raised:
        run_embedded(configure(engine="fake_engine:open_broken"), processes)
    trace = "".join(getattr(raised.value, "__notes__", [])) + str(raised.getrepr(style="short"))
    assert "fake_engine.py" in trace


@pytest.mark.parametrize("processes", [1, 2])
def test_a_folder_that_is_no_log_is_refused(configure: Configure, tmp_path: Path, processes: int) -> None:
    with pytest.raises(UserError):
        run_embedded(configure(data=tmp_path), processes)


def test_a_worker_that_is_killed_ends_the_run(configure: Configure) -> None:
    with pytest.raises(RuntimeError, match=r"dataflow process \d ended with status -9"):
        run_embedded(configure(engine="fake_engine:open_killed"), 2)


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_slow_adapt_holds_the_source_back(configure: Configure, partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import fake_engine

    read, used, ahead = [0], [0], []
    take, on_slide = Intake.take, fake_engine.RecordingEngine.on_slide

    def count_read(intake: Any, decoded: Any, **more: Any) -> Any:
        read[0] += decoded.events.num_rows
        return take(intake, decoded, **more)

    def count_used(engine: Any, slide: Any) -> Any:
        used[0] += slide.events.num_rows
        ahead.append(read[0] - used[0])
        return on_slide(engine, slide)

    monkeypatch.setattr(Intake, "take", count_read)
    monkeypatch.setattr(fake_engine.RecordingEngine, "on_slide", count_used)
    process = FlowProcess()
    config = configure(batch_size=50, partitions=partitions)
    config.run_dir.mkdir()
    run_main(build(config, process))
    assert process.failure is None
    largest_slide = max(line["events"] for line in slides_of(config))
    # What waits: the open slide, and what one call of every partition reads.
    assert max(ahead) <= largest_slide + 2 * partitions * 1024


def test_no_progress_is_shown_where_nobody_looks(configure: Configure, capfd: pytest.CaptureFixture[str]) -> None:
    run_embedded(configure(progress=True, batch_size=1000))
    assert capfd.readouterr() == ("", "")


def test_slides_must_be_whole_panes(configure: Configure) -> None:
    with pytest.raises(ValueError, match="no multiple of 300000 ms"):
        configure(slide_ms=1_000_000)


def test_the_flow_and_adapt_must_mean_the_same_run(configure: Configure) -> None:
    with pytest.raises(ValueError, match="slide_ms: 300000 but adapt has 3600000"):
        configure(slide_ms=300_000)
