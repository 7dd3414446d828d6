"""The `dynmm report` command: a run in, or two, and one HTML file out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from replay.html.page import Page

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document instead of lines.")]


def report(
    run: Path | None = None,
    *,
    compare: tuple[Path, Path] | None = None,
    refresh: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    out: Path | None = None,
    json: Json = False,
) -> None:
    """Write a finished run, or two of them side by side, as one HTML file that needs no network.

    Parameters
    ----------
    run
        A run folder of `dynmm replay`.
    compare
        Two run folders, A and B, that ranked the same events; instead of RUN.
    refresh
        A run of the same log with another --slide; repeatable: the report draws the metric against the slide's length.
    out
        The file to write; by default RUN/report.html, or compare-B.html in the folder of A. A report that is there is written
        anew, any other file stays.
    """
    from dynmm_core.console import print_json
    from dynmm_core.errors import UserError
    from replay.html.page import refuse_foreign, write_page

    if compare is not None:
        if run is not None or refresh:
            raise UserError("--compare: takes two runs and neither RUN nor --refresh; give one report at a time")
        target = out or compare[0] / f"compare-{compare[1].resolve().name}.html"
    elif run is not None:
        target = out or run / "report.html"
    else:
        raise UserError("run: missing; name a run folder, or two with --compare RUN_A RUN_B")
    refuse_foreign(target)
    page = _compare_page(*compare) if compare else _report_page(run, refresh)
    size = write_page(target, page)
    if json:
        sections = [section.id for section in page.sections if section.absent is None]
        print_json({"report": str(target), "bytes": size, "headline": page.headline, "sections": sections})
        return
    print(page.headline)
    print(f"report: {target} ({size / 1e6:.1f} MB)")


def _report_page(run: Path, refresh: tuple[Path, ...]) -> "Page":
    from replay.html.report import report_page
    from replay.html.run_data import read_run_data

    return report_page(read_run_data(run), refresh)


def _compare_page(a: Path, b: Path) -> "Page":
    from replay.html.compare import compare_page
    from replay.html.run_data import read_run_data

    return compare_page(read_run_data(a), read_run_data(b))
