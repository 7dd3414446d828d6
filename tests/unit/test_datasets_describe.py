"""The figures that describe prints, on logs small enough to count by hand and on the real ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynmm_core.datasets.checked import Description, Options, describe_folder
from dynmm_core.datasets.prepare import prepare_folder

HOUR = 3_600_000
DAY = 24 * HOUR
T = 1_700_000_000_000 // DAY * DAY


def described(folder: Path, times: list[int], users: list[int] | None = None) -> Description:
    rows = range(len(times))
    folder.mkdir(exist_ok=True)
    table = pa.table({"user_id": users or list(rows), "item_id": list(rows), "timestamp": times})
    pq.write_table(table, folder / "interactions.parquet")
    return describe_folder(folder, Options())


@pytest.mark.parametrize(
    ("steps", "granularity"),
    [
        ([0, 1, 5000], "ms"),
        ([1000, 3000], "second"),
        ([60_000, 180_000], "minute"),
        ([HOUR, 5 * HOUR], "hour"),
        ([0, DAY, 2 * DAY], "day"),
        ([3 * HOUR, DAY + 3 * HOUR], "day"),
        ([3 * HOUR, 3 * HOUR], "hour"),
    ],
)
def test_granularity_is_the_coarsest_unit_of_all_times(tmp_path: Path, steps: list[int], granularity: str) -> None:
    assert described(tmp_path, [T + step for step in steps]).figures.granularity == granularity


def test_whole_days_are_warned_of(tmp_path: Path) -> None:
    (warning,) = described(tmp_path, [T, T + DAY, T + DAY]).warnings
    assert "whole days" in warning
    assert "1-hour windows are degenerate" in warning


def test_mostly_whole_days_are_warned_of(tmp_path: Path) -> None:
    (warning,) = described(tmp_path, [T, T + DAY, T + DAY + 1]).warnings
    assert warning.startswith("66.7%")
    assert described(tmp_path, [T, T + 1, T + 2]).warnings == ()


def test_ties_are_counted_over_rows(tmp_path: Path) -> None:
    figures = described(tmp_path, [T, T, T, T + 1, T + 1, T + 2], users=[1, 1, 2, 3, 4, 5]).figures
    assert figures.tie_share == 5 / 6
    assert figures.user_tie_share == 2 / 6


def test_events_per_hour_count_the_empty_hours_too(tmp_path: Path) -> None:
    counts = [4, 0, 0, 1, 0, 2, 3]
    times = [T + hour * HOUR + n for hour, count in enumerate(counts) for n in range(count)]
    figures = described(tmp_path, times).figures
    filled = [count for count in counts if count]
    assert (figures.hours.non_empty, figures.hours.all) == (4, 7)
    assert figures.hours.median_non_empty == np.median(filled)
    assert figures.hours.p95_non_empty == pytest.approx(np.quantile(filled, 0.95))
    assert figures.hours.median_all == np.median(counts)
    assert figures.hours.p95_all == pytest.approx(np.quantile(counts, 0.95))
    assert (figures.cut_row, figures.cut_time_ms, figures.online_rows) == (7, T + 6 * HOUR, 3)
    assert (figures.online_hours.non_empty, figures.online_hours.median_non_empty) == (1, 3)


def test_the_online_part_begins_within_an_hour(tmp_path: Path) -> None:
    figures = described(tmp_path, [T + n for n in range(10)]).figures
    assert (figures.online_rows, figures.online_hours.non_empty, figures.online_hours.p95_all) == (3, 1, 3)


def test_one_row_is_a_log(tmp_path: Path) -> None:
    figures = described(tmp_path, [T + 1]).figures
    assert (figures.rows, figures.cut_row, figures.online_rows, figures.hours.all) == (1, 0, 1, 1)


def test_a_span_of_centuries_costs_nothing(tmp_path: Path) -> None:
    hours = described(tmp_path, [10**11, 10**14 - 1]).figures.hours
    assert hours.all > 27_000_000
    assert (hours.median_all, hours.p95_non_empty) == (0, 1)


def test_a_prepared_log_is_described_like_its_source(tmp_path: Path) -> None:
    source = described(tmp_path / "in", [T + 5, T, T + HOUR])
    prepare_folder(tmp_path / "in", tmp_path / "data", Options())
    again = describe_folder(tmp_path / "data", Options())
    assert again.figures == source.figures
    assert again.drops is None


@pytest.mark.parametrize(
    ("name", "rows", "online_rows", "online_hours", "granularity"),
    [
        ("globo-week1", 1_425_015, 427_505, 57, "ms"),
        ("movietweetings-100k", 100_000, 30_000, 1_223, "second"),
        ("ml-1m", 575_281, 172_585, 7_326, "second"),
        ("amazon-2014-grocery-partial", 121_892, 36_568, None, "day"),
    ],
)
def test_the_real_logs_have_their_known_figures(
    real_data: Path, name: str, rows: int, online_rows: int, online_hours: int | None, granularity: str
) -> None:
    description = describe_folder(real_data / name, Options())
    figures, drops = description.figures, description.drops
    assert (figures.rows, figures.online_rows, figures.granularity) == (rows, online_rows, granularity)
    assert online_hours is None or figures.online_hours.non_empty == online_hours
    assert drops is not None
    assert (drops.duplicates, drops.out_of_order) == (0, 0)
    assert bool(description.warnings) == (granularity == "day")
