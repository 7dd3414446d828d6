"""How well a model follows known drift, from figures per window: no model, no truth and no clock in here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_NOTHING = 1e-12  # what sums of equal figures differ by


@dataclass(frozen=True)
class Detections:
    """For each drift the delay (ms) of its first alarm, None where it was missed; and the alarms that no drift explains."""

    delays_ms: tuple[int | None, ...]
    false_alarms: int


def expected_ndcg(probabilities: np.ndarray, scores: np.ndarray, k: int = 10) -> np.ndarray:
    """NDCG@k (B,) that a ranking by scores (B, items) is to expect where items are drawn by probabilities (B, items).

    Equal scores share their places. One item is drawn, so the ideal is 1 and each place r from 1 is worth 1 / log2(1 + r).
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked, chance = np.take_along_axis(scores, order, axis=1), np.take_along_axis(probabilities, order, axis=1)
    worth = np.zeros(scores.shape)
    worth[:, :k] = 1.0 / np.log2(np.arange(2, min(k, scores.shape[1]) + 2))
    first = np.ones(scores.shape, bool)
    first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    group = np.cumsum(first.reshape(-1)) - 1
    shared = (np.bincount(group, worth.reshape(-1)) / np.bincount(group))[group].reshape(scores.shape)
    expected: np.ndarray = (chance * shared).sum(axis=1)
    return expected


def regret(oracle: np.ndarray, model: np.ndarray, events: np.ndarray) -> np.ndarray:
    """What has been lost against the oracle up to each window (windows,): the sum over events of its metric minus the model's.

    ``oracle`` and ``model`` (windows,) are means over a window's events (windows,); a window without events counts nothing.
    """
    lost: np.ndarray = np.cumsum(np.where(events > 0, (oracle - model) * events, 0.0))
    return lost


def detections(alarms_ms: Sequence[int], drifts_ms: Sequence[tuple[int, int]]) -> Detections:
    """Match alarms with drifts, each (start, until): an alarm from start to before ``until`` is owed to that drift.

    ``until`` is for the caller to choose, such as the next drift's start or the end of recovery. Further alarms of one drift
    are neither false nor of use.
    """
    alarms = np.sort(np.asarray(alarms_ms, np.int64))
    explained = np.zeros(len(alarms), bool)
    delays: list[int | None] = []
    for start, until in drifts_ms:
        mine = (alarms >= start) & (alarms < until)
        explained |= mine
        delays.append(int(alarms[mine][0]) - start if mine.any() else None)
    return Detections(tuple(delays), int((~explained).sum()))


def recovery_time(gap: np.ndarray, start: int, before: int = 6, smooth: int = 3, share: float = 0.9) -> int | None:
    """Windows from a drift's start until ``share`` of the gap that it opened is regained; None if that never happens.

    ``gap`` (windows,): the oracle's metric minus the model's, up to the next drift; ``start``: the first window that has it. The
    gap of everyday life is the mean of the ``before`` windows ahead of it. Means of ``smooth`` windows are followed: from the
    widest, the first that is narrow enough counts, by its last window. 0 where no gap was opened.

    Raises:
        ValueError: there are too few windows on either side.
    """
    if start < before or before < 1 or len(gap) < start + smooth:
        raise ValueError(f"gap: {len(gap)} windows, the drift in number {start}: it takes {before} before it and {smooth} after")
    everyday = gap[start - before : start].mean()
    means = np.convolve(gap[start:], np.full(smooth, 1.0 / smooth), "valid")
    widest = int(np.argmax(means))
    opened = means[widest] - everyday
    if opened <= _NOTHING:
        return 0
    narrow = np.flatnonzero(means[widest:] <= everyday + (1.0 - share) * opened + _NOTHING)
    return None if not len(narrow) else widest + int(narrow[0]) + smooth


def forgetting(gap: np.ndarray, visits: Sequence[tuple[int, int]], edge: int = 3) -> float:
    """How much wider the gap is when a concept returns than when it was left, mean over its returns; above 0 it was forgotten.

    ``gap`` (windows,) as in ``recovery_time``; ``visits``: first and one behind the last window of each visit of one concept;
    ``edge``: windows compared at each side, fewer where a visit is shorter. After Chaudhry et al. (2018).

    Raises:
        ValueError: there is no return.
    """
    if len(visits) < 2:
        raise ValueError(f"visits: {len(visits)}, but it takes two to tell what was forgotten between them")
    left = [gap[max(first, last - edge) : last].mean() for first, last in visits[:-1]]
    found = [gap[first : min(last, first + edge)].mean() for first, last in visits[1:]]
    return float(np.mean(np.subtract(found, left)))


def visits(levels: Sequence[tuple[int, float]], from_ms: int, until_ms: int, level: float = 1.0) -> list[tuple[int, int]]:
    """When a drift is at a level, as (start, end) in ms: 1 is the new concept of a recurring drift, 0 the old one.

    ``levels`` are those of the truth file; ``from_ms`` and ``until_ms`` bound the first and the last visit.
    """
    moments = [from_ms, *(max(at, from_ms) for at, _ in levels), until_ms]
    heights = [0.0, *(height for _, height in levels)]
    spans = zip(moments[:-1], moments[1:], heights, strict=True)
    return [(start, end) for start, end, height in spans if height == level and start < end]
