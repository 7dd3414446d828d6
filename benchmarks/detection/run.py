"""Streams drawn and judged by what they say without a model, or a finished run with all that it said."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.detection.matching import Judged, spans_of
from dynmm_core.adapt.drift_facts import facts_of_log
from dynmm_core.errors import UserError
from dynmm_core.metrics.drift.baseline import MEMORY_DAYS
from dynmm_core.metrics.drift.detectors import DETECTORS
from dynmm_core.metrics.drift.watch import Alarm, DriftWatch
from dynmm_core.model.bundle import CutState
from dynmm_core.randomness import derive_seed
from dynmm_core.store.latents import LatentStore
from dynmm_core.times import DAY_MS, HOUR_MS
from replay.run_folder import read_run
from replay.runner import read_outcome
from simulators.asked import settings_of
from simulators.made import Made
from simulators.schedule import read_preset
from simulators.truth_file import read_truth

EVERYDAY = "everyday"  # the default world, with its cycles, bursts and newcomers, without a drift
PRESETS = (
    "null", EVERYDAY, "abrupt", "gradual", "incremental", "recurring", "popularity_burst", "item_birth", "item_death",
    "cohort_shift", "label_noise",
)  # fmt: skip


def judge_preset(preset: str, seed: int, events: int | None = None) -> Judged:
    """Draw a preset's stream and have its summary statistics judged, hour by hour behind the cut; nobody ranks it.

    Args:
        events: of the stream; None takes the preset's own.

    Raises:
        UserError: there is no such preset, or the stream is too small.
    """
    schedule = read_preset("null" if preset == EVERYDAY else preset)
    sizes = read_preset("demo") if preset == EVERYDAY else schedule
    made = Made.drawn(settings_of(sizes, {"seed": seed, "events": events}), schedule.drift)
    log = _indexed(made.table)
    start_ms = made.truth.cut_ms // HOUR_MS * HOUR_MS
    end_ms = int(log.event_time_ms[-1]) // HOUR_MS * HOUR_MS + HOUR_MS
    watch = DriftWatch(DETECTORS, partial(derive_seed, seed))
    alarms: list[Alarm] = []
    for facts in facts_of_log(log, start_ms - MEMORY_DAYS * DAY_MS, end_ms, HOUR_MS):
        found = watch.observe(facts).alarms
        alarms += found if facts.start_ms >= start_ms else ()
    slides = (end_ms - start_ms) // HOUR_MS
    return Judged(preset, seed, tuple(alarms), spans_of(made.truth.drifts, end_ms), slides)


def judge_run(run: Path, truth: Path) -> Judged:
    """Read the alarms of a finished replay of a simulated stream.

    Raises:
        UserError: no finished run, one that did not look for drift, or no truth file of its log.
    """
    metrics = read_outcome(run).metrics
    if "drift_alarms" not in metrics:
        raise UserError(f"--run: {run} did not look for drift; replay again without --detectors off")
    record, known = read_run(run), read_truth(truth / "truth.json" if truth.is_dir() else truth)
    if record is None or known.log != record.config.dataset_fingerprint:
        raise UserError(f"--truth: {truth} is the truth of another log than {run} replayed; name the folder of its own stream")
    versions = LatentStore.open(run / "store").active()
    alarms = tuple(Alarm(**alarm) for alarm in metrics["drift_alarms"])
    return Judged(record.dataset, metrics["seed"], alarms, spans_of(known.drifts, versions[-1].slide_end_ms), len(versions))


def _indexed(table: pa.Table) -> CutState:
    """All events of a log in numbers; which number an item has changes no fact."""
    users, items = (_codes(table[name]) for name in ("user_id", "item_id"))
    times = table["event_time_ms"].to_numpy()
    return CutState([], [], users, items, times, np.zeros((len(times), 0), np.int64))


def _codes(ids: pa.ChunkedArray) -> np.ndarray:
    codes: np.ndarray = ids.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes + 1
