"""The `dynmm bench` commands."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document instead of tables.")]


def bench_replay(
    *,
    protocol: Path,
    data: Annotated[Path | None, Parameter(env_var="DYNMM_DATA")] = None,
    work: Path = Path("runs/bench"),
    results: Path = Path("benchmarks/results"),
    json: Json = False,
) -> None:
    """Prepare, pretrain and replay every data set of a protocol, and keep the figures as JSON.

    Parameters
    ----------
    protocol
        A protocol file, such as benchmarks/protocols/default.toml.
    data
        The folder that holds the data sets' folders.
    work
        Where prepared logs, bundles and runs are kept and found again; remove it to begin afresh.
    results
        Where one JSON file per data set is written.
    """
    from benchmarks.replays import run_protocol
    from dynmm_core.console import print_json
    from dynmm_core.errors import UserError
    from replay.outcome_text import print_outcome
    from replay.protocols import read_protocol

    if data is None:
        raise UserError("--data: names no folder; give it, or set DYNMM_DATA to the folder that holds the data sets")
    documents = []
    for outcome, document in run_protocol(read_protocol(protocol), data, work, results):
        documents.append(document)
        if not json:
            print_outcome(outcome, document["seconds"])
    if json:
        print_json(documents)
