"""Drifts put into a real log: from their moments on, items are renamed, taken away, or pushed, and nothing else is touched."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.events.hashing import hash64
from simulators.drifts import Drift, Ground, resolve
from simulators.schedule import REDEALT, DriftPlan
from simulators.truth_file import KnownDrift, TruthFile

SEGMENTS = 6


def inject_drifts(log: PreparedLog, plans: tuple[DriftPlan, ...], seed: int) -> tuple[pa.Table, TruthFile]:
    """Put drifts into the online part of a log; return its events with other items, and what is known of them.

    An event that a drift reaches is changed with probability magnitude. abrupt, gradual, incremental, recurring: to the item
    that its item changes places with; cohort_shift: likewise, for the users of a cohort, over all items; popularity_burst: to
    one of the burst's items, evenly; item_birth: to a new id, "ITEM~DRIFT"; item_death: to an item that lives on, by popularity
    in the log; label_noise: to any item, evenly. Segments are users by the hash of their id, topics there are none.

    Raises:
        UserError: the drifts contradict each other, do not fit into the log, or are about what a log does not show.
    """
    table = log.read()
    times = table["event_time_ms"].to_numpy()
    users, items = (pc.unique(table[name]).sort() for name in ("user_id", "item_id"))
    user, item = (
        pc.index_in(table[name], value_set=ids).to_numpy() for name, ids in (("user_id", users), ("item_id", items))
    )  # fmt: skip
    cut_ms = int(times[log.cut_row])
    drifts = resolve(plans, _ground(seed, cut_ms, int(times[-1]) + 1 - cut_ms, users, items))
    names = items.to_pylist()
    item = item.astype(np.int64)
    popularity = np.bincount(item, minlength=len(names))
    for drift in drifts:
        item = _changed(drift, seed, item, user, times, popularity, len(users))
        if drift.kind == "item_birth":
            names += [f"{names[old]}~{drift.id}" for old in drift.items.tolist()]
            popularity = np.append(popularity, np.zeros(len(drift.items), popularity.dtype))
    place = table.column_names.index("item_id")
    table = table.set_column(place, "item_id", pa.array(names).take(pa.array(item)))
    known = tuple(KnownDrift.of(drift, items, users) for drift in drifts)
    truth = TruthFile(
        made_by="inject", seed=seed, settings=None, plans=plans, cut_ms=cut_ms, end_ms=int(times[-1]) + 1, world=None, log=None,
        source=log.fingerprint, drifts=known,
    )  # fmt: skip
    return table, truth


def _ground(seed: int, cut_ms: int, online_ms: int, users: pa.Array, items: pa.Array) -> Ground:
    def numbers_of(field: str, names: tuple[str, ...]) -> np.ndarray:
        found = pc.index_in(pa.array(names), value_set=items if field == "items" else users)
        numbers: np.ndarray = found.fill_null(-1).to_numpy()
        return numbers

    segment_of = (hash64(users) % np.uint64(SEGMENTS)).astype(np.int64)
    return Ground(seed, cut_ms, online_ms, np.zeros(len(items), np.int64), 1, segment_of, SEGMENTS, numbers_of)


def _changed(
    drift: Drift, seed: int, item: np.ndarray, user: np.ndarray, times: np.ndarray, popularity: np.ndarray, users: int
) -> np.ndarray:
    """The items (events,) after one drift; births take the numbers behind the last one."""
    if drift.kind == "modality_outage":
        raise UserError(f"--schedule: drift {drift.id}: modality_outage: a log shows no features; leave it out")
    rng = drift.generator(seed, "coins")
    struck = rng.random(len(item)) < drift.magnitude * _level(drift, seed, item, times, len(popularity), rng)
    if drift.users is not None:
        struck &= np.isin(np.arange(users), drift.users)[user]
    rows = np.flatnonzero(struck)
    changed = item.copy()
    changed[rows] = _replacements(drift, seed, item[rows], popularity, rng)
    return changed


def _level(drift: Drift, seed: int, item: np.ndarray, times: np.ndarray, items: int, rng: np.random.Generator) -> np.ndarray:
    """How far the drift is for each event (events,), 0 for items that it leaves alone."""
    if drift.kind == "gradual":
        assert drift.end_ms is not None
        level: np.ndarray = np.clip((times - drift.start_ms) / (drift.end_ms - drift.start_ms), 0.0, 1.0)
    else:
        moments, levels = zip(*drift.levels(), strict=True)
        level = np.concatenate([[0.0], levels])[np.searchsorted(np.array(moments), times, "right")]
    if drift.kind in ("cohort_shift", "label_noise", "popularity_burst"):
        return level
    turn = np.full(items, np.inf)
    turn[drift.items] = drift.generator(seed, "turn").permutation(len(drift.items)) / max(1, len(drift.items))
    if drift.kind in ("incremental", "item_birth", "item_death"):  # item after item
        return np.asarray(turn[item] < level, float)
    inside: np.ndarray = level * np.isfinite(turn[item])
    return inside


def _replacements(drift: Drift, seed: int, item: np.ndarray, popularity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What each event (n,) that is changed is changed to."""
    items = len(popularity)
    changed: np.ndarray
    if drift.kind in REDEALT or drift.kind == "cohort_shift":
        scope = drift.items if len(drift.items) else np.arange(items)
        dealt = np.arange(items)
        dealt[scope] = scope[drift.generator(seed, "redealt").permutation(len(scope))]
        changed = dealt[item]
    elif drift.kind == "popularity_burst":
        changed = drift.items[rng.integers(0, len(drift.items), len(item))]
    elif drift.kind == "item_birth":
        changed = items + np.searchsorted(drift.items, item)
    elif drift.kind == "label_noise":
        changed = rng.integers(0, items, len(item))
    else:
        living = popularity.astype(float)
        living[drift.items] = 0.0
        if not living.any():
            raise UserError(f"--schedule: drift {drift.id}: items: all of them die; leave some out")
        changed = rng.choice(items, len(item), p=living / living.sum())
    return changed
