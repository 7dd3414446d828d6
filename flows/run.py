"""Run the embedded dataflow: in this process, or as a cluster of processes on this machine."""

import os
import time
from collections.abc import Callable
from datetime import timedelta

from bytewax.testing import run_main

from flows.accounts import add_up
from flows.cluster import run_cluster
from flows.config import FlowConfig
from flows.job import Job
from flows.process import FlowProcess, FlowResult, ProcessPart

# Set to anything at all, it makes the engine listen on every interface of the machine.
API_VARIABLE = "BYTEWAX_DATAFLOW_API_ENABLED"


def run_embedded(config: FlowConfig, processes: int = 1) -> FlowResult:
    """Replay the log through summarize and adapt; return when every slide has been through the engine.

    Writes ``accounting.json`` into the run folder, and ``late_events.jsonl`` and ``dead_letters.jsonl`` where there
    are such. An exception in any step, in whichever process, ends all processes and is raised here.

    Raises:
        RuntimeError: the accounting does not close: events were lost or counted twice.
    """
    started = time.monotonic()
    config.run_dir.mkdir(parents=True, exist_ok=True)
    for stale in ("late_events.jsonl", "dead_letters.jsonl", "accounting.json"):
        (config.run_dir / stale).unlink(missing_ok=True)
    os.environ.pop(API_VARIABLE, None)
    job = Job(opener="flows.embedded:open_flow", config=config.model_dump_json(), epoch_ms=config.epoch_ms)
    parts = [run_here(job)] if processes == 1 else run_cluster(job, processes)
    result = _add_up(parts, time.monotonic() - started)
    if not result.accounting.closes:
        raise RuntimeError(f"accounting: {result.accounting!r} of {config.run_dir} does not close")
    (config.run_dir / "accounting.json").write_text(result.accounting.model_dump_json(indent=2) + "\n")
    return result


def run_here(job: Job, watch: Callable[[FlowProcess], None] = lambda process: None) -> ProcessPart:
    """Run the job's dataflow in this process alone; ``watch`` is shown the process before it begins."""
    process, flow = job.open(0)
    watch(process)
    try:
        run_main(flow, epoch_interval=timedelta(milliseconds=job.epoch_ms))
    finally:
        process.close()
    if process.failure is not None:
        raise process.failure
    return process.part()


def _add_up(parts: list[ProcessPart], seconds: float) -> FlowResult:
    return FlowResult(
        accounting=add_up([part.ledger for part in parts], {}),
        progress=max((part.progress for part in parts), key=lambda progress: progress.slides),
        seconds=seconds,
        peak_rss_mb=summed_peaks(parts),
    )


def summed_peaks(parts: list[ProcessPart]) -> float | None:
    """The processes' peaks of memory added up, None where the system tells none."""
    peaks = [part.peak_rss_mb for part in parts if part.peak_rss_mb is not None]
    return sum(peaks) if len(peaks) == len(parts) else None
