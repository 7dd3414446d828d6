"""`dynmm`: command names to lazily imported functions, and their help; no logic."""

import os
import sys
import traceback

from cyclopts import App, CycloptsError

from dynmm_core.command_help import help_of
from dynmm_core.errors import DynmmError


def _add(group: App, name: str, command: str) -> None:
    group.command(command, name=name, help=help_of(command))


app = App(name="dynmm", help="Recommendations that follow a live stream: prepare logs, pre-train, replay, look into the store.")

data = App(name="data", help="Read, check and prepare interaction logs.")
_add(data, "describe", "dynmm_core.datasets.commands:describe")
_add(data, "prepare", "dynmm_core.datasets.commands:prepare")
_add(data, "fetch", "dynmm_core.datasets.commands:fetch")
app.command(data)

store = App(name="store", help="Look into a versioned latent store.")
_add(store, "log", "dynmm_core.store.commands:log")
_add(store, "show", "dynmm_core.store.commands:show")
_add(store, "diff", "dynmm_core.store.commands:diff")
_add(store, "sql", "dynmm_core.store.commands:sql")
_add(store, "rollback", "dynmm_core.store.commands:rollback")
app.command(store)

flow = App(name="flow", help="Run the dataflows on Kafka.")
_add(flow, "topics", "flows.commands:topics")
flow_run = App(name="run", help="Run a dataflow until it is stopped or drained.")
_add(flow_run, "summarize", "flows.commands:run_summarize")
_add(flow_run, "adapt", "flows.commands:run_adapt")
_add(flow_run, "all", "flows.commands:run_all")
flow.command(flow_run)
_add(flow, "backfill", "flows.commands:backfill")
_add(flow, "redrive", "flows.commands:redrive")
app.command(flow)

bench = App(name="bench", help="Measure what we publish.")
_add(bench, "replay", "benchmarks.commands:bench_replay")
_add(bench, "stream", "benchmarks.stream.commands:bench_stream")
_add(bench, "capacity", "benchmarks.capacity.commands:bench_capacity")
_add(bench, "backbone", "benchmarks.backbone.commands:bench_backbone")
_add(bench, "quality", "benchmarks.quality.commands:bench_quality")
_add(bench, "drift", "benchmarks.drift.commands:bench_drift")
_add(bench, "adapt", "benchmarks.adapt.commands:bench_adapt")
_add(bench, "detection", "benchmarks.detection.commands:bench_detection")
app.command(bench)

_add(app, "pretrain", "dynmm_core.adapt.commands:pretrain")
_add(app, "replay", "replay.commands:replay")
_add(app, "demo", "replay.commands:demo")
_add(app, "report", "replay.html.commands:report")
_add(app, "simulate", "simulators.commands:simulate")


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 ok, 2 user error, 3 failed check, 1 our bug."""
    # Threads that spin while they wait starve each other where cores are shared: several times slower, measured.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(arguments, exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(2)
    except DynmmError as error:
        print(f"dynmm: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (NotADirectoryError, PermissionError) as error:
        print(f"dynmm: {error.filename}: {error.strerror}; name a path that can be used", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except Exception:
        traceback.print_exc()
        print("dynmm: this is a bug of ours; please report it with the lines above", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
