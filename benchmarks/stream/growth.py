"""Memory of the dataflow over Kafka, by partitions and as the stream grows."""

import shutil
from collections.abc import Callable
from typing import Any

from benchmarks.stream.engines import ENGINES
from benchmarks.stream.inputs import Inputs
from benchmarks.stream.run import run_job
from dynmm_core.console import print_table

PARTITIONS = (4, 12)
_SHARES = (4, 2, 1)  # the stream's first quarter, its first half, all of it
Rows = list[dict[str, Any]]


def measure_growth(inputs: Inputs, say: Callable[[str], None]) -> Rows:
    """Peak memory of one process at each number of partitions, over ever longer prefixes: flat where nothing piles up."""
    engine = next(one for one in ENGINES if one.key == ("dynmm kafka json", "full"))
    rows: Rows = []
    for partitions in PARTITIONS:
        for share in _SHARES:
            events = max(1, inputs.plan.events // share)
            say(f"memory: {partitions} partitions, {events} events")
            job = inputs.job(engine, events, partitions)
            result = run_job(engine, job)
            shutil.rmtree(job["folder"])
            event_hours = round(events / inputs.plan.density / 3_600, 2)
            peak = round(result["peak_rss_mb"], 1)
            rows.append({"partitions": partitions, "events": events, "event_hours": event_hours, "peak_rss_mb": peak})
    return rows


def print_growth(rows: Rows) -> None:
    """A table of the growth, where there is any."""
    if rows:
        lines = [
            [str(row["partitions"]), *(f"{row[name]:,}" for name in ("events", "event_hours", "peak_rss_mb"))] for row in rows
        ]
        print_table(["partitions", "events", "event hours", "peak MiB"], lines, title="dynmm kafka json, full")
