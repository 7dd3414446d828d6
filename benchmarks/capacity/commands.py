"""The `dynmm bench capacity` command."""

import math
import time
from pathlib import Path

from benchmarks.commands import Json
from dynmm_core.errors import CheckFailed, UserError


def bench_capacity(
    *,
    share: float = 1.0,
    runs: int = 2,
    tolerance: float = 0.25,
    utilisation: float = 0.6,
    results: Path = Path("benchmarks/results"),
    seed: int = 0,
    json: Json = False,
) -> None:
    """Fit a capacity model of summarize, check it at loads that it was not fitted to, and say what larger loads need.

    Every load runs through the job without broker and engine, in processes of its own; what these two add is taken from
    results of `dynmm bench stream`. If a prediction is further off than the tolerance, the exit code is 3. One load, ten times
    the largest that was fitted, only shows how far the model reaches: what it took beyond its prediction is added to the sizes.

    Parameters
    ----------
    share
        Measure this share of every load's events; small ones are quick, and fit badly.
    runs
        Processes per load and form; the least CPU counts, and the most memory.
    tolerance
        The largest relative error of a load that was not fitted, in CPU or in memory.
    utilisation
        How busy a process may be, as a fraction of a core.
    results
        The folder of stream.json and stream-memory.json.
    seed
        Names the random draws of the events.
    """
    from benchmarks.capacity.points import CHECKED, FAR, FITTED, fit_model, measure_loads, scaled
    from benchmarks.capacity.report import document_of, missed, print_document
    from benchmarks.capacity.wire import events_per_cpu_second, read_wire
    from dynmm_core.console import print_json, progress

    for name, value in (("--share", share), ("--utilisation", utilisation)):
        if not 0 < value <= 1:
            raise UserError(f"{name}: {value} is no fraction; give more than 0 and at most 1")
    if runs < 1:
        raise UserError(f"--runs: {runs} is too few; give 1 or more")
    if not (tolerance > 0 and math.isfinite(tolerance)):
        raise UserError(f"--tolerance: {tolerance} allows nothing; give more than 0, such as 0.25")
    if seed < 0:
        raise UserError(f"--seed: {seed} is below 0; give 0 or more")
    wire, rows = read_wire(results), events_per_cpu_second(results)
    begun = time.monotonic()
    with progress("loads", len(FITTED) + len(CHECKED) + len(FAR)) as bar:
        fitted, held_out = (measure_loads(scaled(loads, share), runs, seed, bar.advance) for loads in (FITTED, CHECKED))
        far = measure_loads(scaled(FAR, share), 1, seed, bar.advance)  # large enough for once
    document = document_of(fit_model(fitted), fitted, held_out, far, wire, rows, tolerance, utilisation)
    document |= {"share": share, "runs": runs, "seed": seed, "seconds": round(time.monotonic() - begun, 1)}
    if json:
        print_json(document)
    else:
        print_document(document)
    if wrong := missed(document["checks"], tolerance):
        raise CheckFailed("; ".join(wrong))
