"""Pathway's sliding windows over a file of JSON lines, in its static mode."""

import csv

import pathway as pw
from measuring import measure, read_job, tell, write_csv


class Event(pw.Schema):
    """The two fields that the counts need."""

    event_time_ms: int
    item_id: str


def main() -> None:
    """Run the computation of the job."""
    job = read_job()
    found = f"{job['cells']}.changes"
    events = pw.io.jsonlines.read(job["path"], schema=Event, mode="static")
    window = pw.temporal.sliding(hop=job["slide_ms"], duration=job["window_ms"])
    late = pw.temporal.common_behavior(cutoff=job["lateness_ms"])
    counts = events.windowby(events.event_time_ms, window=window, behavior=late, instance=events.item_id).reduce(
        window_end_ms=pw.this._pw_window_end, item_id=pw.this._pw_instance, events=pw.reducers.count()
    )
    pw.io.csv.write(counts, found)
    result = measure(lambda: pw.run(monitoring_level=pw.MonitoringLevel.NONE), job["events"])
    with open(found) as file:
        rows = [row for row in csv.DictReader(file) if row["diff"] == "1"]
    write_csv(job["cells"], [(int(row["window_end_ms"]), row["item_id"], int(row["events"])) for row in rows])
    tell(result)


if __name__ == "__main__":
    main()
