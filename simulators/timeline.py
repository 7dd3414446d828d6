"""The timeline: pieces of time in which nothing changes but the progress of a gradual drift."""

from dataclasses import dataclass

import numpy as np

from simulators.drifts import UNWEIGHTY, Drift
from simulators.regimes import RegimeBuilder
from simulators.settings import FIRST_HOUR_MS


@dataclass(frozen=True)
class Timeline:
    """Pieces of time, and the user classes of the drifts' scopes.

    start_ms (pieces,) ascending; regime (pieces, classes, 2): that of every event, but for the share ``progress`` of the events
    of a gradual drift under way, which are drawn from the second one (Gama et al., 2014); ramp_start_ms, ramp_ms (pieces,)
    when that drift began and how long it takes; noise (pieces, classes) share of events drawn from all items evenly; moved
    (shifts, pieces) how often a topic is drawn from a cohort's new taste, for each cohort shift.
    """

    start_ms: np.ndarray
    regime: np.ndarray
    ramp_start_ms: np.ndarray
    ramp_ms: np.ndarray
    noise: np.ndarray
    moved: np.ndarray

    def piece_of(self, event_time_ms: np.ndarray) -> np.ndarray:
        """The piece (n,) of each moment; before the first one nothing is different."""
        pieces: np.ndarray = np.maximum(np.searchsorted(self.start_ms, event_time_ms, "right") - 1, 0)
        return pieces

    def progress(self, piece: np.ndarray, event_time_ms: np.ndarray) -> np.ndarray:
        """How far a gradual drift is at each moment (n,), 0 where there is none."""
        done: np.ndarray = (event_time_ms - self.ramp_start_ms[piece]) / self.ramp_ms[piece]
        return np.where(np.isfinite(self.ramp_ms[piece]), np.clip(done, 0.0, 1.0), 0.0)


def make_timeline(drifts: tuple[Drift, ...], reached: np.ndarray, regimes: RegimeBuilder) -> Timeline:
    """Lay out the pieces; ``reached`` (drifts, classes) bool: which classes of users a drift affects."""
    moments = {FIRST_HOUR_MS}
    for drift in drifts:
        moments |= {drift.start_ms, *([] if drift.end_ms is None else [drift.end_ms]), *(at for at, _ in drift.levels())}
    start_ms = np.array(sorted(moments), np.int64)
    low = np.stack([_levels(drift, start_ms) for drift in drifts], axis=1) if drifts else np.zeros((len(start_ms), 0))
    high = low.copy()
    ramp_start, ramp = np.zeros(len(start_ms)), np.full(len(start_ms), np.inf)
    for place, drift in enumerate(drifts):
        if drift.kind == "gradual":
            assert drift.end_ms is not None
            under_way = (start_ms >= drift.start_ms) & (start_ms < drift.end_ms)
            high[under_way, place] = 1.0
            ramp_start[under_way], ramp[under_way] = drift.start_ms, drift.end_ms - drift.start_ms
    weighty = np.array([drift.kind not in UNWEIGHTY for drift in drifts], float)
    regime = np.array([
        [[regimes.number_of(tuple((row * reach * weighty).tolist())) for row in (low[piece], high[piece])] for reach in reached.T]
        for piece in range(len(start_ms))
    ])  # fmt: skip
    noisy = np.array([drift.magnitude * (drift.kind == "label_noise") for drift in drifts])
    calm = np.prod(1.0 - low[:, :, None] * noisy[:, None] * reached, axis=1) if drifts else np.ones((len(start_ms), 1))
    shifts = [low[:, place] * drift.magnitude for place, drift in enumerate(drifts) if drift.kind == "cohort_shift"]
    moved = np.stack(shifts) if shifts else np.zeros((0, len(start_ms)))
    return Timeline(start_ms, regime, ramp_start, ramp, 1.0 - calm, moved)


def _levels(drift: Drift, start_ms: np.ndarray) -> np.ndarray:
    """The level (pieces,) of a drift; that of a gradual one is 0 until it is over."""
    if drift.kind == "gradual":
        assert drift.end_ms is not None
        return (start_ms >= drift.end_ms).astype(float)
    moments, levels = zip(*drift.levels(), strict=True)
    place = np.searchsorted(np.array(moments), start_ms, "right")
    found: np.ndarray = np.concatenate([[0.0], levels])[place]
    return found
