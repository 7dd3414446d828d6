"""The figures that `describe` prints about a log: counts, time range, granularity, ties, events per hour."""

from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from dynmm_core.datasets.dataset_file import Granularity, first_online_row
from dynmm_core.times import DAY_MS, HOUR_MS

_UNITS: tuple[tuple[Granularity, int], ...] = (("hour", HOUR_MS), ("minute", 60_000), ("second", 1_000))
_MIDNIGHT_SHARE_TO_WARN = 0.5


@dataclass(frozen=True)
class HourFigures:
    """Events per 1-hour UTC window, over the windows that have any and over every window of the span (p95:
    linear).
    """

    non_empty: int
    all: int
    median_non_empty: float
    p95_non_empty: float
    median_all: float
    p95_all: float


@dataclass(frozen=True)
class LogFigures:
    """A log in figures; shares are fractions.

    `tie_share`: rows that share their time with another row; `user_tie_share`: that share it with another
    row of the same user; `midnight_share`: rows at midnight UTC. `online` is what follows the first 70 %
    of the rows, from `cut_row` on.
    """

    rows: int
    users: int
    items: int
    first_event_time_ms: int
    last_event_time_ms: int
    granularity: Granularity
    midnight_share: float
    tie_share: float
    user_tie_share: float
    hours: HourFigures
    cut_row: int
    cut_time_ms: int
    online_rows: int
    online_hours: HourFigures


def log_figures(connection: duckdb.DuckDBPyConnection) -> LogFigures:
    """Figures of the view `log` (user_id, item_id, event_time_ms; any order), which must have at least one
    row.
    """
    rows, users, items, first, last = connection.execute(
        "SELECT count(*), count(DISTINCT user_id), count(DISTINCT item_id), min(event_time_ms), max(event_time_ms) FROM log"
    ).fetchall()[0]
    cut_row = first_online_row(rows)
    (cut_time_ms,) = connection.execute(
        f"SELECT event_time_ms FROM log ORDER BY event_time_ms LIMIT 1 OFFSET {cut_row}"
    ).fetchall()[0]
    granularity, midnight_share = _granularity(connection, rows)
    hours, counts = _hour_counts(connection)
    # Rows are sorted by time, so what the cut leaves of an hour follows from the hours before it.
    online = np.clip(np.cumsum(counts) - cut_row, 0, counts)
    return LogFigures(
        rows, users, items, first, last, granularity, midnight_share,
        tie_share=_tied_rows(connection, "event_time_ms") / rows,
        user_tie_share=_tied_rows(connection, "user_id, event_time_ms") / rows,
        hours=_hour_figures(hours, counts),
        cut_row=cut_row,
        cut_time_ms=cut_time_ms,
        online_rows=rows - cut_row,
        online_hours=_hour_figures(hours[online > 0], online[online > 0]),
    )  # fmt: skip


def warnings_of(figures: LogFigures) -> list[str]:
    """What a user should know before trusting results on such a log, one sentence each."""
    if figures.granularity == "day":
        return [
            "all times are whole days: 1-hour windows are degenerate here (a day fills one, the next 23 are"
            " empty) and the order within a day is unknown; do not report accuracy by the hour"
        ]
    if figures.midnight_share >= _MIDNIGHT_SHARE_TO_WARN:
        return [
            f"{figures.midnight_share:.1%} of the times are midnight UTC and look like whole days, for which"
            " 1-hour windows are degenerate; find the true times or drop those rows"
        ]
    return []


def _granularity(connection: duckdb.DuckDBPyConnection, rows: int) -> tuple[Granularity, float]:
    """The coarsest unit of all times (a day also at a constant hour of it); the share at midnight."""
    units = ", ".join(f"bool_and(event_time_ms % {size} = 0)" for _, size in _UNITS)
    times_of_day, days, midnight, *whole = connection.execute(
        f"SELECT count(DISTINCT event_time_ms % {DAY_MS}), count(DISTINCT event_time_ms // {DAY_MS}),"
        f" count(*) FILTER (WHERE event_time_ms % {DAY_MS} = 0), {units} FROM log"
    ).fetchall()[0]
    if midnight == rows or (times_of_day == 1 and days > 1):
        return "day", midnight / rows
    for (unit, _), holds in zip(_UNITS, whole, strict=True):
        if holds:
            return unit, midnight / rows
    return "ms", midnight / rows


def _tied_rows(connection: duckdb.DuckDBPyConnection, keys: str) -> int:
    (tied,) = connection.execute(
        f"SELECT coalesce(sum(n), 0)::BIGINT FROM (SELECT count(*) AS n FROM log GROUP BY {keys}) WHERE n > 1"
    ).fetchall()[0]
    return int(tied)


def _hour_counts(connection: duckdb.DuckDBPyConnection) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The non-empty hours (in hours since 1970, ascending) and the events in each."""
    table = connection.sql(
        f"SELECT event_time_ms // {HOUR_MS} AS hour, count(*) AS events FROM log GROUP BY hour ORDER BY hour"
    ).to_arrow_table()
    return table["hour"].to_numpy().astype(np.int64), table["events"].to_numpy().astype(np.int64)


def _hour_figures(hours: NDArray[np.int64], counts: NDArray[np.int64]) -> HourFigures:
    span = int(hours[-1] - hours[0]) + 1
    ordered = np.sort(counts)
    return HourFigures(
        non_empty=len(counts),
        all=span,
        median_non_empty=_quantile(ordered, 0, 0.5),
        p95_non_empty=_quantile(ordered, 0, 0.95),
        median_all=_quantile(ordered, span - len(counts), 0.5),
        p95_all=_quantile(ordered, span - len(counts), 0.95),
    )


def _quantile(ordered: NDArray[np.int64], zeros: int, share: float) -> float:
    """The linear quantile of `zeros` zeros followed by `ordered`, without building them: a span can hold
    millions of hours.
    """
    position = share * (zeros + len(ordered) - 1)
    below = int(position)
    low, high = (
        float(ordered[index - zeros]) if index >= zeros else 0.0 for index in (below, min(below + 1, zeros + len(ordered) - 1))
    )
    return low + (high - low) * (position - below)
