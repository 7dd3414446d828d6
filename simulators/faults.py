"""Faults put into a log on purpose, each with a consequence that is known before anything reads it."""

from dataclasses import replace
from itertools import pairwise
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dynmm_core.events.encode import encode_json
from dynmm_core.events.hashing import hash64
from simulators.breaking import BREAKS, OVERSIZED, break_message, without_id
from simulators.faulty_log import USED_COLUMNS, ExpectedCounts, FaultyLog, Message
from simulators.placement import FOREVER_MS, Carriers, Outcome, Placed, Rules, copy, move, partitions_of

Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
# An event has one of these at most; its code is its place here, from 1.
_FAULTS = ("late", "out_of_order", "malformed", "future", "oversized", "without_event_id")
_LATE, _OUT_OF_ORDER, _MALFORMED, _FUTURE, _OVERSIZED, _NAMELESS = range(1, 7)
_ENCODED_ROWS = 65_536


class FaultRates(BaseModel):
    """Shares of the events that are given a fault, and partitions that stop sending.

    late: they come when their slide has closed; out_of_order: behind a later event, yet in time; malformed: no event can be
    read from them; future: stamped more than the allowed skew after they are sent; oversized: longer than 1 MiB;
    without_event_id: known by their place alone. These exclude each other.

    duplicate: further copies, some of them late, some on another partition. roaming: events that come by another partition
    than their user's. idle_after: partition -> share of the log's events after which it is silent for good (0: it never
    sends); its events then come by the next one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    late: Share = 0.0
    duplicate: Share = 0.0
    out_of_order: Share = 0.0
    malformed: Share = 0.0
    future: Share = 0.0
    oversized: Share = 0.0
    without_event_id: Share = 0.0
    roaming: Share = 0.0
    idle_after: dict[int, Share] = {}

    @model_validator(mode="after")
    def _one_fault_per_event(self) -> "FaultRates":
        total = sum(getattr(self, name) for name in _FAULTS)
        if total > 1.0 + 1e-9:
            raise ValueError(f"{', '.join(_FAULTS)} add up to {total:g}, and no event has two of them; make it 1 or less")
        return self


def inject(
    events: pa.Table, rates: FaultRates, seed: int, partitions: int,
    slide_ms: int, allowed_lateness_ms: int, max_skew_ms: int | None,
) -> FaultyLog:  # fmt: skip
    """Turn events in time order into the messages of a faulty log; the same arguments give the same bytes.

    ``events``: event_time_ms, event_id, user_id, item_id and further columns, but for ``ingest_time_ms``, which is left out: the
    messages' own timestamps say when they came. An event that has no room for its fault, as the last ones have none to be
    late, is sent as it is; ``expected`` counts what was done.

    Raises:
        ValueError: the events are not in order, or two have the same user and id; a rate asks the impossible.
    """
    events = _checked(events)
    times = events["event_time_ms"].to_numpy()
    rules = _rules(times, rates, partitions, slide_ms, allowed_lateness_ms, max_skew_ms)
    rng = np.random.default_rng([seed, 5])
    fault = _draw_faults(rates, len(times), rng)
    hashes = hash64(events["user_id"])
    sent = Placed.in_order(times, partitions_of(hashes, times, rates.roaming, rules, rng))
    plain = (fault == 0) | (fault == _NAMELESS)
    carriers = Carriers(times[plain], sent.partition[plain], partitions)
    sent = move(sent, fault == _OUT_OF_ORDER, fault == _LATE, carriers, rules, rng)
    dead = (fault == _MALFORMED) | (fault == _FUTURE) | (fault == _OVERSIZED)
    sent = replace(sent, outcome=np.where(dead, Outcome.DEAD, sent.outcome).astype(np.uint8))
    copies = copy(sent, _draw_copied(rates, fault, rng), carriers, rules, rng)
    again = _encode(_at(events, copies.row, copies.event_time_ms))
    return _assembled(events, [*_values(events, fault, rules, rng), *again], sent, copies, fault, hashes, rules)


def _checked(events: pa.Table) -> pa.Table:
    """The columns that are sent, typed as decoded events are."""
    for name in USED_COLUMNS:
        if name not in events.column_names:
            raise ValueError(f"events: {name} is missing; the columns are {', '.join(events.column_names)}")
        kind = pa.int64() if name == "event_time_ms" else pa.string()
        place = events.column_names.index(name)
        events = events.set_column(place, name, events[name].cast(kind))
    further = [name for name in events.column_names if name not in (*USED_COLUMNS, "ingest_time_ms")]
    events = events.select([*USED_COLUMNS, *further]).replace_schema_metadata(None).combine_chunks()
    times = events["event_time_ms"].to_numpy()
    if (times[1:] < times[:-1]).any():
        raise ValueError("events: not in the order of event_time_ms; sort them first")
    keys = hash64(events["event_id"]) * np.uint64(3) + hash64(events["user_id"])
    if len(np.unique(keys)) < len(keys):
        raise ValueError("events: two have the same user_id and event_id; give every event an id of its own")
    return events


def _rules(
    times: np.ndarray, rates: FaultRates, partitions: int, slide_ms: int, allowed_lateness_ms: int, max_skew_ms: int | None
) -> Rules:
    if partitions < 1:
        raise ValueError(f"partitions: {partitions} is not 1 or more")
    if max_skew_ms is None and rates.future:
        raise ValueError(
            f"future: {rates.future:g}, but without a bound on skew no event is in the future; make it 0, or set one"
        )
    silent_from = np.full(partitions, FOREVER_MS)
    for partition, share in rates.idle_after.items():
        if not 0 <= partition < partitions:
            raise ValueError(f"idle_after: {partition} is no partition; they are 0 to {partitions - 1}")
        row = int(share * len(times))
        silent_from[partition] = -FOREVER_MS if share == 0 else times[row] if row < len(times) else FOREVER_MS
    if (silent_from < FOREVER_MS).all():
        raise ValueError(f"idle_after: all {partitions} partitions fall silent; leave one out")
    return Rules(partitions, slide_ms, allowed_lateness_ms, max_skew_ms, silent_from)


def _draw_faults(rates: FaultRates, rows: int, rng: np.random.Generator) -> np.ndarray:
    """The fault (rows,) of each event: its place in ``_FAULTS`` from 1, 0 for none; as many as the rates say, rounded."""
    fault = np.zeros(rows, np.uint8)
    order = rng.permutation(rows)
    first = 0
    for code, name in enumerate(_FAULTS, start=1):
        last = first + round(getattr(rates, name) * rows)
        fault[order[first:last]] = code
        first = last
    return fault


def _draw_copied(rates: FaultRates, fault: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rows that are sent twice, in their order."""
    may = np.flatnonzero((fault == 0) | (fault == _OUT_OF_ORDER) | (fault == _LATE))
    return np.sort(rng.permutation(may)[: round(rates.duplicate * len(fault))])


def _values(events: pa.Table, fault: np.ndarray, rules: Rules, rng: np.random.Generator) -> list[bytes]:
    """The message of each event."""
    values = _encode(events)
    draws = rng.integers(0, 1 << 30, len(values)).tolist()
    for row, event in _rows(events, fault == _MALFORMED):
        values[row] = break_message(BREAKS[draws[row] % len(BREAKS)], event, draws[row] // len(BREAKS))
    for row, event in _rows(events, fault == _NAMELESS):
        values[row] = without_id(event, draws[row])
    for row in np.flatnonzero(fault == _OVERSIZED):
        values[row] = OVERSIZED
    ahead = np.flatnonzero(fault == _FUTURE)
    # Half of them by a single millisecond.
    too_much = (rules.max_skew_ms or 0) + 1 + rng.integers(0, 2, len(ahead)) * rng.integers(0, 86_400_000, len(ahead))
    stamped = _at(events, ahead, events["event_time_ms"].to_numpy()[ahead] + too_much)
    for row, value in zip(ahead, _encode(stamped), strict=True):
        values[row] = value
    return values


def _rows(events: pa.Table, chosen: np.ndarray) -> list[tuple[int, dict[str, object]]]:
    rows = np.flatnonzero(chosen)
    return list(zip(rows.tolist(), events.take(pa.array(rows)).to_pylist(), strict=True))


def _at(events: pa.Table, rows: np.ndarray, event_time_ms: np.ndarray) -> pa.Table:
    """Rows (n,) of the events with other times (n,)."""
    return events.take(pa.array(rows)).set_column(0, "event_time_ms", pa.array(event_time_ms, pa.int64()))


def _encode(events: pa.Table) -> list[bytes]:
    return [value for batch in events.to_batches(_ENCODED_ROWS) for value in encode_json(batch)]


def _assembled(
    events: pa.Table, values: list[bytes], sent: Placed, copies: Placed, fault: np.ndarray, hashes: np.ndarray, rules: Rules
) -> FaultyLog:
    rows = events.num_rows
    # Copies are told from their events by a row behind the last.
    everything = sent.joined(replace(copies, row=rows + np.arange(len(copies.row))))
    source = np.concatenate([np.arange(rows), copies.row])[everything.row]
    bounds = np.searchsorted(everything.partition, np.arange(rules.partitions + 1))
    spans = [slice(first, last) for first, last in pairwise(bounds)]
    ordered = np.array(values, object)[everything.row]
    messages = [tuple(map(Message, ordered[span].tolist(), everything.arrival_ms[span].tolist())) for span in spans]
    outcomes = np.bincount(everything.outcome, minlength=len(Outcome)).tolist()
    kinds = np.bincount(fault, minlength=len(_FAULTS) + 1).tolist()
    used = sent.outcome == Outcome.USED
    expected = ExpectedCounts(
        read=len(everything.row),
        used=outcomes[Outcome.USED],
        late=outcomes[Outcome.LATE],
        duplicate=outcomes[Outcome.DUPLICATE] + outcomes[Outcome.LATE_DUPLICATE],
        dead=outcomes[Outcome.DEAD],
        late_duplicate=outcomes[Outcome.LATE_DUPLICATE],
        malformed=kinds[_MALFORMED],
        future=kinds[_FUTURE],
        oversized=kinds[_OVERSIZED],
        out_of_order=int(((fault == _OUT_OF_ORDER) & (sent.rank > 0)).sum()),
        without_event_id=kinds[_NAMELESS],
        away=int((everything.partition != (hashes[source] % np.uint64(rules.partitions)).astype(np.int64)).sum()),
        slides=len(np.unique(sent.event_time_ms[used] // rules.slide_ms)),
    )
    return FaultyLog(
        messages=tuple(messages),
        outcomes=tuple(everything.outcome[span] for span in spans),
        rows=tuple(source[span] for span in spans),
        events=events,
        nameless=fault == _NAMELESS,
        expected=expected,
    )
