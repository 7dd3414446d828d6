"""The strata that results are broken down by, and the rows that carry them."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.metrics.ranking import METRICS

STRATA = ("warm", "cold_item", "cold_user", "new_item", "new_user", "session_first", "session_later")
COLD_BELOW = 5
WINDOW_MS = 3_600_000


@dataclass(frozen=True)
class WindowRow:
    """Sums over the ranked events of one evaluation window, model and stratum (or ``all``).

    sums: (6,) in the order of ``METRICS``; staleness_ms: sum of event time minus the newest event time inside the
    model that ranked it.
    """

    window_start_ms: int
    model: str
    stratum: str
    n: int
    sums: tuple[float, ...]
    staleness_ms: int

    def to_json(self) -> list[int | float | str]:
        """Return the row as a flat list: window, model, stratum, n, the metrics' sums, staleness."""
        return [self.window_start_ms, self.model, self.stratum, self.n, *self.sums, self.staleness_ms]


def masks(
    item_events: np.ndarray, user_events: np.ndarray, new_item: np.ndarray, new_user: np.ndarray, session_position: np.ndarray
) -> dict[str, np.ndarray]:
    """Return one boolean mask (n,) per stratum.

    Args:
        item_events: (n,) events of the target known at the end of the slide before; user_events: (n,) events of the
            user's history; new_item, new_user: (n,) no event before the 70 % point; session_position: (n,).
    """
    cold_item, cold_user = item_events < COLD_BELOW, user_events < COLD_BELOW
    first = session_position == 0
    values = (~cold_item & ~cold_user, cold_item, cold_user, new_item, new_user, first, ~first)
    return dict(zip(STRATA, values, strict=True))


def window_rows(
    model: str, event_time_ms: np.ndarray, metrics: np.ndarray, strata: dict[str, np.ndarray], staleness_ms: np.ndarray
) -> list[WindowRow]:
    """Sum per-event metrics (n, 6) into one row per evaluation window and stratum, empty strata left out."""
    assert metrics.shape == (len(event_time_ms), len(METRICS))
    windows, inverse = np.unique(event_time_ms // WINDOW_MS * WINDOW_MS, return_inverse=True)
    rows = []
    for number, window in enumerate(windows):
        inside = inverse == number
        for stratum, mask in {"all": np.ones(len(inside), bool), **strata}.items():
            pick = inside & mask
            n = int(pick.sum())
            if n:
                sums = tuple(float(x) for x in metrics[pick].sum(0))
                rows.append(WindowRow(int(window), model, stratum, n, sums, int(staleness_ms[pick].sum())))
    return rows
