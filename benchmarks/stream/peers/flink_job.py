"""Flink SQL's hopping windows over a file of JSON lines; the Java machine is warmed by the same query on the same file."""

import os
from pathlib import Path

from measuring import measure, read_job, tell
from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, TableEnvironment

_SOURCE = """
    create table {name} (
        event_time_ms bigint, item_id string,
        event_time as to_timestamp_ltz(event_time_ms, 3),
        watermark for event_time as event_time - interval '{lateness}' second
    ) with ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'json')
"""
_SINK = """
    create table {name} (window_end timestamp(3), item_id string, events bigint)
    with ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv')
"""
_QUERY = """
    insert into {sink}
    select window_end, item_id, count(*) from table(
        hop(table {source}, descriptor(event_time), interval '{slide}' minute, interval '{window}' minute)
    ) group by window_start, window_end, item_id
"""


def main() -> None:
    """Run the query twice: once to warm up, then measured."""
    job = read_job()
    os.environ["FLINK_ENV_JAVA_OPTS"] = job["java_options"]
    tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    tables.get_config().set_local_timezone("UTC")
    for name, value in {"parallelism.default": "1", "pipeline.object-reuse": "true"}.items():
        tables.get_config().set(name, value)
    java = int(get_gateway().jvm.java.lang.ProcessHandle.current().pid())
    _count(tables, job, "warm", job["path"], f"{job['cells']}.warm")
    tell(measure(lambda: _count(tables, job, "measured", job["path"], job["cells"]), job["events"], [java]))


def _count(tables: TableEnvironment, job: dict, name: str, events: str, cells: str) -> None:
    tables.execute_sql(
        _SOURCE.format(name=f"{name}_events", path=Path(events).resolve().as_uri(), lateness=job["lateness_ms"] // 1_000)
    )
    tables.execute_sql(_SINK.format(name=f"{name}_cells", path=Path(cells).resolve().as_uri()))
    slide, window = job["slide_ms"] // 60_000, job["window_ms"] // 60_000
    tables.execute_sql(_QUERY.format(source=f"{name}_events", sink=f"{name}_cells", slide=slide, window=window)).wait()


if __name__ == "__main__":
    main()
