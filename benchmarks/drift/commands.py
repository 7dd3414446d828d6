"""The `dynmm bench drift` command."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from benchmarks.commands import Json
from dynmm_core.errors import CheckFailed, UserError


def bench_drift(
    *,
    protocol: Path,
    only: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    report: Annotated[bool, Parameter(negative="")] = False,
    jobs: int | None = None,
    work: Path = Path("runs/drift"),
    results: Path = Path("benchmarks/results/drift"),
    json: Json = False,
) -> None:
    """Rank streams with known drift by every model and by the truth, cell by cell; finished cells are not run again.

    Fails where versions of the hour are worth something on a stream without drift, or nothing on one that changes at once.

    Parameters
    ----------
    protocol
        A protocol file, such as benchmarks/protocols/drift.toml.
    only
        Cells whose name matches this pattern alone, such as "abrupt.*"; repeatable.
    report
        Run nothing; print what is finished.
    jobs
        Commands that run at a time, one thread each; as many as there are cores by default, at most two.
    work
        Where streams, bundles and runs are kept and found again.
    results
        Where the result files of finished cells lie, in a folder of the protocol's name.
    """
    import os

    from benchmarks.drift.cells import Folders, read_result
    from benchmarks.drift.figures import document_of
    from benchmarks.drift.protocol import read_protocol
    from benchmarks.drift.report import print_document
    from benchmarks.drift.run import run_cells
    from dynmm_core.console import print_json

    asked = read_protocol(protocol)
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs: {jobs} is too small; give 1 or more")
    cells = [cell for cell in asked.cells if not only or any(fnmatch(cell.name, pattern) for pattern in only)]
    if not cells:
        raise UserError(f"--only: no cell of {protocol} matches {', '.join(only)}; leave it out to see their names")
    folders = Folders(work, results)
    waiting = [cell for cell in cells if read_result(cell, folders) is None]
    if not report:
        run_cells(waiting, folders, jobs or min(2, len(os.sched_getaffinity(0))))
    found = [(cell, read_result(cell, folders)) for cell in cells]
    documents = [document for _, document in found if document is not None]
    whole = document_of(asked, documents, [cell.name for cell, document in found if document is None])
    if json:
        print_json(whole)
    else:
        print_document(whole)
    if failed := [check for check in whole["checks"] if check["verdict"] == "fails"]:
        raise CheckFailed("; ".join(f"{check['preset']}: {check['told']}" for check in failed))
