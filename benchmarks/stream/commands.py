"""The `dynmm bench stream` command."""

import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from benchmarks.commands import Json
from dynmm_core.errors import CheckFailed, UserError

Flag = Annotated[bool, Parameter(negative="")]


def bench_stream(
    *,
    events: int = 2_000_000,
    runs: int = 3,
    only: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    peers: Flag = False,
    curves: Flag = False,
    memory: Flag = False,
    check: Flag = False,
    partitions: int = 4,
    seed: int = 0,
    work: Path = Path(".cache/bench-stream"),
    json: Json = False,
) -> None:
    """Measure the stream: our engines and others' on the same events, in CPU seconds of the engine's own processes.

    A broker is started where Kafka is measured, and peers get environments of their own, which are kept. Every engine's
    windows are compared with true ones, cell by cell; if any differ, the exit code is 3.

    Parameters
    ----------
    events
        How many events, at 300 per event-second; slow peers get the first of them.
    runs
        Rounds; figures are medians over them, memory is the highest.
    only
        Measure this engine alone, such as "dynmm json file"; repeatable.
    peers
        Measure Pathway and Quix Streams, too.
    curves
        Also the cost of a slide by horizon length and by active items.
    memory
        Also memory over Kafka at 4 and at 12 partitions, as the stream grows.
    check
        Exit code 3 also where something required does not hold.
    partitions
        Partitions of the topics.
    seed
        Names the random draws of the events.
    work
        Where the events lie meanwhile; some gigabytes.
    """
    from benchmarks.stream.curves import measure_curves, print_curves
    from benchmarks.stream.engines import choose
    from benchmarks.stream.events import EventPlan
    from benchmarks.stream.growth import measure_growth, print_growth
    from benchmarks.stream.inputs import Inputs
    from benchmarks.stream.report import document_of, print_document
    from benchmarks.stream.run import measure_all
    from dynmm_core.console import print_json

    for name, value in (("--events", events), ("--runs", runs), ("--partitions", partitions)):
        if value < 1:
            raise UserError(f"{name}: {value} is too few; give 1 or more")
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {text}", file=sys.stderr, flush=True)

    with Inputs(EventPlan(events=events, seed=seed), work, partitions) as inputs:
        measured = measure_all(choose(only, peers), inputs, runs, say)
        grown = measure_growth(inputs, say) if memory else []
        density = inputs.density
    curve = measure_curves(say) if curves else []
    document = document_of(measured, density, grown, curve)
    document["seconds"] = round(time.monotonic() - begun, 1)
    if json:
        print_json(document)
    else:
        print_document(document)
        print_growth(grown)
        print_curves(curve)
    wrong = [f"{one.engine.name}, {one.engine.profile}: {one.differs}" for one in measured if one.differs]
    missed = [one["check"] for one in document["checks"] if check and one["passed"] is False and not one["stretch"]]
    if wrong or missed:
        raise CheckFailed("; ".join(wrong + [f"not as required: {name}" for name in missed]))
