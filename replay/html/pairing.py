"""Two runs of the same ranked events, window by window: how much one has more than the other, and whether that is noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dynmm_core.errors import UserError
from dynmm_core.metrics.bootstrap import block_bootstrap_ratio
from dynmm_core.metrics.significance import block_sums, holm, ratio_of_sums
from replay.html.cells import Cells
from replay.html.run_data import RunData
from replay.oracle import ORACLE
from replay.results import BOOTSTRAP_SEED, block_windows


@dataclass(frozen=True)
class Difference:
    """A model's mean over events in run A and run B, and B minus A with its 95 % interval, as fractions.

    blocks of ``block`` consecutive windows; p: of Student's test that blocks differ by nothing; p_holm: corrected for all models
    that were compared. NaN where fewer than two blocks tell nothing. same: every window is equal, so that nothing was tested.
    """

    model: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    block: int
    blocks: int
    p: float
    p_holm: float
    same: bool


def check_pair(a: RunData, b: RunData) -> None:
    """Make sure that two runs ranked the same events.

    Raises:
        UserError: they replayed different logs, or different parts of one, or some event was ranked in one alone.
    """
    paths = f"{a.path} and {b.path}"
    ours, theirs = a.record.config, b.record.config
    if ours.dataset_fingerprint != theirs.dataset_fingerprint:
        logs = f"{a.record.dataset} {ours.dataset_fingerprint:.12} and {b.record.dataset} {theirs.dataset_fingerprint:.12}"
        raise UserError(f"--compare: {paths} replay different logs ({logs}); replay one log twice")
    if (ours.split_hash, ours.cut_row) != (theirs.split_hash, theirs.cut_row):
        raise UserError(f"--compare: {paths} rank different parts of {a.record.dataset}; replay both with the same --split")
    if not shared_models(a.windows, b.windows):
        raise UserError(f"--compare: {paths} have no model in common; replay both with one more of the same --models")
    if not same_events(a.windows, b.windows):
        raise UserError(
            f"--compare: {paths} rank different events (late, dead or sampled ones); replay both with the same settings"
        )


def same_events(a: Cells, b: Cells) -> bool:
    """Return whether both count as many events in every window: those of a stratum may be others where slides differ."""
    return np.array_equal(a.starts_ms, b.starts_ms) and np.array_equal(a.n[0], b.n[0])


def shared_models(a: Cells, b: Cells) -> tuple[str, ...]:
    """Return the models that both have, but for the oracle, who learns nothing that a run could change."""
    return tuple(model for model in a.models if model in b.models and model != ORACLE)


def differences(a: Cells, b: Cells, metric: str) -> tuple[Difference, ...]:
    """Compare every model that both have, best of B first; Holm's correction is over those that differ at all."""
    found = [_difference(a, b, model, metric) for model in shared_models(a, b)]
    tested = [one for one in found if not np.isnan(one.p)]
    corrected = iter(holm([one.p for one in tested]))
    told = [one if np.isnan(one.p) else replace(one, p_holm=next(corrected)) for one in found]
    return tuple(sorted(told, key=lambda one: -one.b))


def window_differences(a: Cells, b: Cells, model: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (difference of sums, events) of one model by window, each (T,)."""
    return b.sums_of(metric)[b.of(model)] - a.sums_of(metric)[a.of(model)], a.n[a.of(model)].astype(float)


def _difference(a: Cells, b: Cells, model: str, metric: str) -> Difference:
    more, events = window_differences(a, b, model, metric)
    block = block_windows(len(more))
    sums = [block_sums(column, block) for column in (more, events)]
    means = [cells.total(model, metric) / events.sum() for cells in (a, b)]
    told = Difference(
        model, *means, float(more.sum() / events.sum()), np.nan, np.nan, block, len(sums[0]), np.nan, np.nan, not more.any()
    )
    if told.blocks < 2 or told.same:
        return told
    _, low, high = block_bootstrap_ratio(more, events, block, BOOTSTRAP_SEED)
    return replace(told, low=low, high=high, p=ratio_of_sums(*sums).p_value())


def chosen(found: Sequence[Difference], preferred: str) -> Difference:
    """Return the difference that a page begins with: that of ``preferred`` where it has one, else the largest."""
    return next((one for one in found if one.model == preferred), max(found, key=lambda one: abs(one.difference)))
