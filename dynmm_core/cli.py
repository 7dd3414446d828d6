"""`dynmm`: command names to lazily imported functions; no logic."""

import os
import sys
import traceback

from cyclopts import App, CycloptsError

from dynmm_core.errors import DynmmError

app = App(name="dynmm", help="Recommendations that follow a live stream: prepare logs, pre-train, replay, look into the store.")

data = App(name="data", help="Read, check and prepare interaction logs.")
data.command("dynmm_core.datasets.commands:describe", name="describe")
data.command("dynmm_core.datasets.commands:prepare", name="prepare")
data.command("dynmm_core.datasets.commands:fetch", name="fetch")
app.command(data)

store = App(name="store", help="Look into a versioned latent store.")
store.command("dynmm_core.store.commands:log", name="log")
store.command("dynmm_core.store.commands:show", name="show")
store.command("dynmm_core.store.commands:diff", name="diff")
store.command("dynmm_core.store.commands:sql", name="sql")
store.command("dynmm_core.store.commands:rollback", name="rollback")
app.command(store)

flow = App(name="flow", help="Run the dataflows on Kafka.")
flow.command("flows.commands:topics", name="topics")
flow_run = App(name="run", help="Run a dataflow until it is stopped or drained.")
flow_run.command("flows.commands:run_summarize", name="summarize")
flow_run.command("flows.commands:run_adapt", name="adapt")
flow_run.command("flows.commands:run_all", name="all")
flow.command(flow_run)
flow.command("flows.commands:backfill", name="backfill")
flow.command("flows.commands:redrive", name="redrive")
app.command(flow)

bench = App(name="bench", help="Measure what we publish.")
bench.command("benchmarks.commands:bench_replay", name="replay")
bench.command("benchmarks.stream.commands:bench_stream", name="stream")
bench.command("benchmarks.capacity.commands:bench_capacity", name="capacity")
bench.command("benchmarks.backbone.commands:bench_backbone", name="backbone")
bench.command("benchmarks.quality.commands:bench_quality", name="quality")
bench.command("benchmarks.drift.commands:bench_drift", name="drift")
bench.command("benchmarks.adapt.commands:bench_adapt", name="adapt")
bench.command("benchmarks.detection.commands:bench_detection", name="detection")
app.command(bench)

app.command("dynmm_core.adapt.commands:pretrain", name="pretrain")
app.command("replay.commands:replay", name="replay")
app.command("replay.commands:demo", name="demo")
app.command("replay.html.commands:report", name="report")
app.command("simulators.commands:simulate", name="simulate")


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
