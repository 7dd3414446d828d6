"""The `dynmm bench detection` command."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from benchmarks.commands import Json


def bench_detection(
    *,
    preset: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    seeds: int = 5,
    events: int | None = None,
    run: Path | None = None,
    truth: Path | None = None,
    json: Json = False,
) -> None:
    """How soon drift is suspected, and how often for nothing: alarms beside the truth of simulated streams.

    Streams are judged by their summary statistics alone, without a model; a finished replay of one also by its ranking.

    Parameters
    ----------
    preset
        Judge streams of this preset; repeatable. By default every preset that changes items, null, and everyday, which is the
        default world without a drift.
    seeds
        Streams of each preset.
    events
        Events of each stream; those of its preset by default.
    run
        Judge this finished replay instead, by the alarms that it raised.
    truth
        The folder of the simulated stream that was replayed; with --run.
    """
    from benchmarks.detection.report import print_rows, rows_of
    from benchmarks.detection.run import PRESETS, judge_preset, judge_run
    from dynmm_core.console import print_json, progress
    from dynmm_core.errors import UserError

    if seeds < 1:
        raise UserError(f"--seeds: {seeds} is too small; give 1 or more")
    if (run is None) != (truth is None):
        raise UserError("--run: goes with --truth; give both, or neither")
    if run is not None and truth is not None:
        judged = [judge_run(run, truth)]
    else:
        judged = []
        with progress("detection", len(preset or PRESETS) * seeds) as bar:
            for name in preset or PRESETS:
                for seed in range(seeds):
                    judged.append(judge_preset(name, seed, events))
                    bar.advance(1, stream=name)
    rows = rows_of(judged)
    if json:
        print_json({"rows": rows})
    else:
        print_rows(rows)
