"""Drifts as they happen: a schedule's plans resolved to moments, items and users, and refused where they contradict."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dynmm_core.errors import UserError
from dynmm_core.quantities import format_duration
from dynmm_core.randomness import derive_seed
from simulators.schedule import REDEALT, DriftPlan, offset_ms

UNWEIGHTY = ("cohort_shift", "modality_outage", "label_noise")  # no item's popularity changes
_STEPS = 24  # of what changes step by step, at most


@dataclass(frozen=True)
class Drift:
    """One change with known moments: start_ms, end_ms (None: it stays), and whom it affects.

    items, users: (n,) numbers ascending, users None for all; period_ms: a visit of a recurring drift's concept.
    """

    id: str
    kind: str
    start_ms: int
    end_ms: int | None
    magnitude: float
    items: np.ndarray
    users: np.ndarray | None
    period_ms: int | None = None
    modality: str | None = None

    def levels(self) -> list[tuple[int, float]]:
        """Moments from which the drift has a level, 0 to 1, ascending; before the first of them it is 0.

        A gradual drift has none: its level rises evenly from start to end (see :class:`simulators.timeline.Timeline`).
        """
        if self.kind == "recurring":
            assert self.end_ms is not None and self.period_ms is not None
            visits = range(self.start_ms, self.end_ms, self.period_ms)
            return [*((moment, float(number % 2 == 0)) for number, moment in enumerate(visits)), (self.end_ms, 0.0)]
        if self.kind == "incremental" or (self.kind in ("item_birth", "item_death") and self.end_ms is not None):
            assert self.end_ms is not None
            steps = max(1, min(_STEPS, (self.end_ms - self.start_ms) // 60_000))
            moments = np.linspace(self.start_ms, self.end_ms, steps, endpoint=False).astype(np.int64).tolist()
            return [(moment, (number + 1) / steps) for number, moment in enumerate(moments)]
        return [(self.start_ms, 1.0), *([] if self.end_ms is None else [(self.end_ms, 0.0)])]

    def generator(self, seed: int, purpose: str) -> np.random.Generator:
        """The draws of this drift alone: another drift in the schedule does not change them."""
        return np.random.default_rng(derive_seed(seed, 0, f"drift/{self.id}/{purpose}"))


@dataclass(frozen=True)
class Ground:
    """What a schedule is laid over: a log's online part, its items (topic_of, (items,)) and its users (segment_of, (users,)).

    ``numbers_of`` gives the number (n,) of each id of "items" or "users", -1 for those that are none.
    """

    seed: int
    cut_ms: int
    online_ms: int
    topic_of: np.ndarray
    topics: int
    segment_of: np.ndarray
    segments: int
    numbers_of: Callable[[str, tuple[str, ...]], np.ndarray]


def resolve(plans: tuple[DriftPlan, ...], ground: Ground) -> tuple[Drift, ...]:
    """Resolve plans; births first take their items from the others.

    Raises:
        UserError: two plans contradict each other, or one does not fit into the log.
    """
    born = np.zeros(len(ground.topic_of), bool)
    found: dict[str, Drift] = {}
    for plan in sorted((plan for plan in plans if plan.kind != "null"), key=lambda plan: plan.kind != "item_birth"):
        found[plan.id] = drift = _resolve(plan, ground, born)
        if plan.kind == "item_birth":
            born[drift.items] = True
    drifts = tuple(found[plan.id] for plan in plans if plan.id in found)
    _refuse_contradictions(drifts)
    return drifts


def _resolve(plan: DriftPlan, ground: Ground, born: np.ndarray) -> Drift:
    start_ms, end_ms, period_ms = _moments(plan, ground.online_ms)
    rng = np.random.default_rng(derive_seed(ground.seed, 0, f"drift/{plan.id}/scope"))
    items = _items_of(plan, ground, born, rng)
    if plan.kind not in UNWEIGHTY and born[items].any():
        raise _refusal(plan, "items", "some of them are born by another drift; leave them out")
    users = _users_of(plan, ground, rng)
    end_ms = None if end_ms is None else ground.cut_ms + end_ms
    return Drift(
        plan.id, plan.kind, ground.cut_ms + start_ms, end_ms, plan.magnitude, items, users, period_ms, plan.modality
    )  # fmt: skip


def _moments(plan: DriftPlan, online_ms: int) -> tuple[int, int | None, int | None]:
    """Start, end and period in ms behind the cut."""
    start = offset_ms(plan.start, online_ms)
    end, period = (None if moment is None else offset_ms(moment, online_ms) for moment in (plan.end, plan.period))
    if start >= online_ms:
        raise _refusal(plan, "start", f"{plan.start} lies behind the online part, which takes {format_duration(online_ms)}")
    if end is not None and not start < end <= online_ms:
        raise _refusal(plan, "end", f"{plan.end} does not lie behind its start and in the online part")
    if period is not None and not (end is not None and 0 < period < end - start):
        raise _refusal(plan, "period", f"{plan.period} must be above 0 and shorter than the drift")
    return start, end, period


def _items_of(plan: DriftPlan, ground: Ground, born: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The items (n,) of a drift: those named, or a share of each topic, at least one of it."""
    topic_of, key = ground.topic_of, rng.random(len(born))
    if plan.kind in ("cohort_shift", "label_noise"):  # they are about users alone
        return np.zeros(0, np.int64)
    if isinstance(plan.items, tuple):
        return _named(plan, "items", plan.items, ground, len(born))
    eligible = np.ones(len(born), bool) if plan.kind == "modality_outage" else ~born
    if plan.topics is not None:
        eligible &= _inside(plan, "topics", plan.topics, topic_of, ground.topics)
    if plan.items == "all":
        return np.flatnonzero(eligible)
    # A topic must have an item to offer at all times, so births and deaths leave one in each.
    spare = plan.kind in ("item_birth", "item_death")
    chosen = np.zeros(len(born), bool)
    for topic in np.unique(topic_of[eligible]):
        mine = np.flatnonzero(eligible & (topic_of == topic))
        count = max(1, int(float(plan.items) * len(mine)))
        chosen[mine[np.argsort(key[mine])][: min(count, len(mine) - spare)]] = True
    return np.flatnonzero(chosen)


def _users_of(plan: DriftPlan, ground: Ground, rng: np.random.Generator) -> np.ndarray | None:
    """The users (n,) of a drift, None for all."""
    inside, key = np.ones(len(ground.segment_of), bool), rng.random(len(ground.segment_of))
    if plan.segments is not None:
        inside = _inside(plan, "segments", plan.segments, ground.segment_of, ground.segments)
    if isinstance(plan.users, tuple):
        named = _named(plan, "users", plan.users, ground, len(inside))
        return np.asarray(named[inside[named]])
    if plan.users != "all":
        inside &= key < float(plan.users)
    return None if inside.all() else np.flatnonzero(inside)


def _named(plan: DriftPlan, field: str, names: tuple[str, ...], ground: Ground, count: int) -> np.ndarray:
    numbers = ground.numbers_of(field, names)
    for name, number in zip(names, numbers.tolist(), strict=True):
        if not 0 <= number < count:
            raise _refusal(plan, field, f"{name} is none of the log's {count}")
    return np.unique(numbers)


def _inside(plan: DriftPlan, field: str, wanted: tuple[int, ...], of: np.ndarray, count: int) -> np.ndarray:
    for number in wanted:
        if not 0 <= number < count:
            raise _refusal(plan, field, f"{number} does not lie in 0 to {count - 1}")
    inside: np.ndarray = np.isin(of, wanted)
    return inside


def _refusal(plan: DriftPlan, field: str, why: str) -> UserError:
    return UserError(f"--schedule: drift {plan.id}: {field}: {why}")


def _refuse_contradictions(drifts: tuple[Drift, ...]) -> None:
    """Two gradual drifts under way at once, the same items redealt by two at once, or ended twice."""
    for place, one in enumerate(drifts):
        for other in drifts[place + 1 :]:
            at_once = one.start_ms < _until(other) and other.start_ms < _until(one)
            if one.kind == other.kind == "gradual" and at_once:
                raise _contradiction(one, other, "are both gradual and under way at once; let one end before the other starts")
            if not len(np.intersect1d(one.items, other.items)) or not _users_meet(one, other):
                continue
            if one.kind in REDEALT and other.kind in REDEALT and at_once:
                raise _contradiction(one, other, "redeal the same items at once; let one end before the other starts")
            if one.kind == other.kind == "item_death":
                raise _contradiction(one, other, "both end the same items; leave one out")


def _users_meet(one: Drift, other: Drift) -> bool:
    return one.users is None or other.users is None or len(np.intersect1d(one.users, other.users)) > 0


def _until(drift: Drift) -> int:
    """When the change is no longer under way: an abrupt one without an end is over at once."""
    return drift.start_ms + 1 if drift.end_ms is None else drift.end_ms


def _contradiction(one: Drift, other: Drift, why: str) -> UserError:
    return UserError(f"--schedule: drifts {one.id} and {other.id} contradict each other: they {why}")
