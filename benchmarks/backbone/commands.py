"""The `dynmm bench backbone` command."""

import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from benchmarks.commands import Json
from dynmm_core.errors import CheckFailed, UserError


def bench_backbone(
    data: Path,
    /,
    *,
    published: Annotated[bool, Parameter(negative="")] = False,
    only: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    epochs: int | None = None,
    seed: int = 0,
    threads: int = 2,
    work: Path = Path("runs/backbone"),
    json: Json = False,
) -> None:
    """Check our SASRec: against RePlay's on the same split, or on complete ML-1M against published figures.

    Leave-one-out: the last event of each user is the test, the last but one is validation. Full ranking without consumed items.
    Both get the same shape, epochs and early stopping on validation. If ours is worse by more than two standard errors of the
    difference user by user, or a figure is outside its published band, the exit code is 3.

    Parameters
    ----------
    data
        A prepared log.
    published
        Train with one sampled negative and with the full softmax, and compare with published figures; some hours.
    only
        Train this row alone, such as "replay-rec"; repeatable.
    epochs
        Most passes over the training events; 12, or 100 with --published.
    seed
        Names the random draws.
    threads
        CPU threads.
    work
        Where trained rows are kept and found again; remove it to begin afresh.
    """
    from benchmarks.backbone.report import document_of, missed, print_document
    from benchmarks.backbone.run import PUBLISHED_BUDGET, choose, refuse_incomplete, train_rows
    from benchmarks.backbone.training import Budget
    from dynmm_core.console import print_json
    from dynmm_core.datasets.prepared import PreparedLog

    for name, value, least in (("--epochs", 1 if epochs is None else epochs, 1), ("--threads", threads, 1), ("--seed", seed, 0)):
        if value < least:
            raise UserError(f"{name}: {value} is too small; give {least} or more")
    rows = choose(only, published)
    log = PreparedLog.open(data)
    if published:
        refuse_incomplete(log)
    budget = PUBLISHED_BUDGET if published else Budget()
    budget = replace(budget, epochs=epochs or budget.epochs, seed=seed, threads=threads)
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {text}", file=sys.stderr, flush=True)

    trained = train_rows(log, rows, budget, work, say)
    document = {
        "dataset": log.name,
        "fingerprint": log.fingerprint,
        "command": shlex.join(["dynmm", *(data.name if part == str(data) else part for part in sys.argv[1:])]),
        "budget": budget.to_json(),
        "requests": len(trained[0].figures),
        **document_of(trained, published),
    }
    if json:
        print_json(document)
    else:
        print_document(document)
    if wrong := missed(document):
        raise CheckFailed("; ".join(wrong))
