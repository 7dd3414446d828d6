"""The costly models' settings, chosen on the tail in as many trials as the simple ones have, where that is asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dynmm_core.adapt.baseline_tuning import RANKED_TAIL_EVENTS, TunedBaselines, mean_ndcg
from dynmm_core.adapt.tail import Tail
from dynmm_core.baselines.costly.models import build_costly
from dynmm_core.model.bundle import CutState
from dynmm_core.model.sasrec import SASRec

CostlyGrids = dict[str, list[dict[str, float]]]
_REHEARSALS = ((1e-4, 1), (3e-4, 1), (1e-3, 1), (3e-3, 1), (1e-2, 1), (1e-3, 4), (3e-3, 4))
_RETRAININGS = ((1, 2), (1, 8), (7, 2), (7, 8), (30, 2), (30, 8), (90, 4))
_GRAPHS = ((1, 1e-2), (7, 1e-2), (30, 1e-2), (90, 1e-2), (7, 3e-2), (30, 3e-2), (90, 3e-2))
COSTLY_GRIDS: CostlyGrids = {
    "fine_tune": [{"learning_rate": rate, "rehearsed": rows} for rate, rows in _REHEARSALS],
    "periodic_retrain": [{"days": days, "epochs": epochs} for days, epochs in _RETRAININGS],
    "lightgcn": [{"days": days, "learning_rate": rate} for days, rate in _GRAPHS],
}
COSTLY_TRIALS = sum(len(grid) for grid in COSTLY_GRIDS.values())


def tune_costly(
    cut: CutState, tail: Tail, backbone: SASRec, half_life_ms: int, seed: int, advance: Callable[[int], None],
    grids: CostlyGrids = COSTLY_GRIDS,
) -> TunedBaselines:  # fmt: skip
    """Choose every costly model's settings by NDCG@10 on the tail, one pass over it for each trial.

    Args:
        backbone: trained on the events before the tail alone; half_life_ms: of the popularity that all of them fall back to;
        advance: called with every number of finished trials.
    """
    events = len(cut.event_time_ms) - tail.row
    ranked = np.unique(np.linspace(0, events - 1, min(events, RANKED_TAIL_EVENTS)).astype(np.int64)) + tail.row
    settings: dict[str, dict[str, float]] = {}
    trials: list[dict[str, Any]] = []
    for name, grid in grids.items():
        means = []
        for one in grid:
            model = build_costly(name, {**one, "half_life_ms": half_life_ms}, backbone, seed)
            means.append(float(mean_ndcg(cut, tail.row, [model], ranked, backbone.max_length)[0][0]))
            trials.append({"model": name, **one, "ndcg@10": means[-1]})
            advance(1)
        settings[name] = {**grid[int(np.argmax(means))], "half_life_ms": half_life_ms}
    return TunedBaselines(settings, trials)
