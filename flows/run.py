"""Run the embedded dataflow: in this process, or as a cluster of processes on this machine."""

import os
import time
from datetime import timedelta

from bytewax.testing import run_main

from flows.cluster import run_cluster
from flows.config import FlowConfig
from flows.embedded import build
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
    parts = [_run_here(config)] if processes == 1 else run_cluster(config, processes)
    result = _add_up(parts, time.monotonic() - started)
    if not result.accounting.closes:
        raise RuntimeError(f"accounting: {result.accounting!r} of {config.run_dir} does not close")
    (config.run_dir / "accounting.json").write_text(result.accounting.model_dump_json(indent=2) + "\n")
    return result


def _run_here(config: FlowConfig) -> ProcessPart:
    process = FlowProcess()
    try:
        run_main(build(config, process), epoch_interval=timedelta(milliseconds=config.epoch_ms))
    finally:
        process.close()
    if process.failure is not None:
        raise process.failure
    return process.part()


def _add_up(parts: list[ProcessPart], seconds: float) -> FlowResult:
    accounting = parts[0].balance
    for part in parts[1:]:
        accounting = accounting.plus(part.balance)
    peaks = [part.peak_rss_mb for part in parts if part.peak_rss_mb is not None]
    return FlowResult(
        accounting=accounting,
        progress=max((part.progress for part in parts), key=lambda progress: progress.slides),
        seconds=seconds,
        peak_rss_mb=sum(peaks) if len(peaks) == len(parts) else None,
    )
