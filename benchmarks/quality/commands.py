"""The `dynmm bench quality` command."""

import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from benchmarks.commands import Json
from dynmm_core.errors import UserError


def bench_quality(
    *,
    plan: Path = Path("benchmarks/quality/plan.toml"),
    data: Annotated[Path | None, Parameter(env_var="DYNMM_DATA")] = None,
    only: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    report: Annotated[bool, Parameter(negative="")] = False,
    work: Path = Path("runs/quality"),
    results: Path = Path("benchmarks/results/adaptation"),
    json: Json = False,
) -> None:
    """Run the whole evaluation of adaptation with plain commands, cell by cell; finished cells are not run again.

    Parameters
    ----------
    plan
        The cells, in TOML.
    data
        The folder that holds the data sets' folders.
    only
        Cells whose name matches this pattern alone, such as "globo-week1.*"; repeatable.
    report
        Run nothing; print what is finished.
    work
        Where prepared logs, bundles and runs are kept and found again.
    results
        Where each finished cell's JSON file lies.
    """
    from benchmarks.quality.cells import read_cell, result_file, run_cell
    from benchmarks.quality.plan import read_plan
    from benchmarks.quality.report import print_cells
    from dynmm_core.console import print_json

    cells = [cell for cell in read_plan(plan) if not only or any(fnmatch(cell.name, pattern) for pattern in only)]
    if not cells:
        raise UserError(f"--only: no cell of {plan} matches {', '.join(only)}; leave it out to see their names")
    waiting = [cell for cell in cells if not result_file(results, cell).is_file()]
    if waiting and not report and data is None:
        raise UserError("--data: names no folder; give it, or set DYNMM_DATA to the folder that holds the data sets")
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {text}", file=sys.stderr, flush=True)

    if not report:
        for cell in waiting:
            assert data is not None
            run_cell(cell, data, work, results, say)
        waiting = []
    documents = [read_cell(results, cell) for cell in cells if cell not in waiting]
    missing = [cell.name for cell in waiting]
    if json:
        print_json({"rows": documents, "missing": missing})
    else:
        print_cells(documents, missing)
