"""DuckDB's windows over a file of JSON lines, as one batch."""

import duckdb
from measuring import measure, read_job, tell

_QUERY = """
    copy (
        with panes as (
            select event_time_ms // {slide_ms} as pane, item_id, count(*) as events
            from read_json('{path}', format = 'newline_delimited', columns = {{event_time_ms: 'BIGINT', item_id: 'VARCHAR'}})
            group by all
        )
        select (pane + ahead + 1) * {slide_ms} as window_end_ms, item_id, sum(events)::bigint as events
        from panes, range({window_ms} // {slide_ms}) as aheads(ahead) group by all
    ) to '{cells}' (format parquet)
"""


def main() -> None:
    """Run the query of the job."""
    job = read_job()
    with duckdb.connect() as connection:
        tell(measure(lambda: connection.execute(_QUERY.format(**job)), job["events"]))


if __name__ == "__main__":
    main()
