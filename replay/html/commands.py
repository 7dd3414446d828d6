"""The `dynmm report` command: a run in, one HTML file out."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document instead of lines.")]


def report(
    run: Path,
    *,
    refresh: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    out: Path | None = None,
    json: Json = False,
) -> None:
    """Write a finished run as one HTML file that needs no network.

    Parameters
    ----------
    run
        A run folder of `dynmm replay`.
    refresh
        A run of the same log with another --slide; repeatable: the report draws the metric against the slide's length.
    out
        The file to write; RUN/report.html by default. A report that is there is written anew, any other file stays.
    """
    from dynmm_core.console import print_json
    from replay.html.page import refuse_foreign, write_page
    from replay.html.report import report_page
    from replay.html.run_data import read_run_data

    target = out or run / "report.html"
    refuse_foreign(target)
    page = report_page(read_run_data(run), refresh)
    size = write_page(target, page)
    if json:
        print_json({"report": str(target), "bytes": size, "headline": page.headline})
        return
    print(page.headline)
    print(f"report: {target} ({size / 1e6:.1f} MB)")
