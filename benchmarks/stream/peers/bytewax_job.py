"""Bytewax's own sliding windows over a file of JSON lines, as its documentation writes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as windowing
import orjson
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main
from measuring import measure, read_job, tell, write_csv

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def main() -> None:
    """Run the dataflow of the job."""
    job = read_job()
    window, slide = timedelta(milliseconds=job["window_ms"]), timedelta(milliseconds=job["slide_ms"])
    counted: list[tuple[str, tuple[int, int]]] = []
    flow = Dataflow("windows")
    lines = op.input("read", flow, FileSource(job["path"], batch_size=1_000))
    keyed = op.map("decode", lines, _decode)
    clock: Any = windowing.EventClock(
        ts_getter=lambda time: time, wait_for_system_duration=timedelta(milliseconds=job["lateness_ms"])
    )
    windower = windowing.SlidingWindower(length=window, offset=slide, align_to=_EPOCH)
    counts = windowing.fold_window("count", keyed, clock, windower, lambda: 0, lambda count, _: count + 1, lambda a, b: a + b)
    op.output("write", counts.down, TestingSink(counted))
    result = measure(lambda: run_main(flow), job["events"])
    ends = ((number * job["slide_ms"] + job["window_ms"], item, count) for item, (number, count) in counted)
    write_csv(job["cells"], list(ends))
    tell(result)


def _decode(line: str) -> tuple[str, datetime]:
    event = orjson.loads(line)
    return event["item_id"], datetime.fromtimestamp(event["event_time_ms"] / 1_000, UTC)


if __name__ == "__main__":
    main()
