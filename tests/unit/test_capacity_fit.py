"""The capacity model: known coefficients come back, and what is expected of a load is what its events hold."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.capacity.fit import (
    CLOSE_TERMS,
    ENTRY_BYTES,
    ID_BYTES,
    MEMORY_TERMS,
    OPEN_BYTES,
    READ_TERMS,
    USER_BYTES,
    Model,
    close_terms,
    fit_terms,
    known_bytes,
)
from benchmarks.capacity.load import Load, expect
from benchmarks.capacity.points import FITTED, FORMS, SLIDES, Form, Point, events_of, fit_model, start_ms
from dynmm_core.windows.buckets import buckets_of
from dynmm_core.windows.clock import DRAINED_MS
from dynmm_core.windows.hashes import EventHashes
from dynmm_core.windows.messages import Chunk, ShardState
from dynmm_core.windows.pairs import Pairs
from dynmm_core.windows.seen import RecentIds
from dynmm_core.windows.shard import ShardWindow
from dynmm_core.windows.tails import UserTails
from flows.live.config import StreamSettings

_NO_ITEMS = np.zeros(0, np.uint64)
MODEL = Model(
    dict(zip(READ_TERMS, (1e-6, 4e-7, 1e-3), strict=True)),
    dict(zip(CLOSE_TERMS, (2e-2, 1e-7, 3e-7, 4e-8, 2e-8), strict=True)),
    dict(zip(MEMORY_TERMS, (1.5e8, 900.0, 60.0, 80.0, 3.0, 120.0), strict=True)),
    2e-7,
)


def made(load: Load, form: Form, model: Model = MODEL) -> Point:
    """The point that the model says."""
    point = Point(load, form, 1.0, 1.0, 0.0, 1.0, 0.0)
    total = point.total()
    closing = sum(model.close[name] * value for name, value in close_terms(total).items())
    return replace(
        point, cpu_seconds=model.cpu_seconds(total, form), close_seconds=closing,
        exchange_seconds=model.exchange_seconds * total.events * (form == "arrow"),
        peak_bytes=model.memory_bytes(load, point.counts()[-1])["total"],
    )  # fmt: skip


def test_the_coefficients_of_made_points_come_back() -> None:
    found = fit_model([made(load, form) for load in FITTED for form in FORMS])
    for ours, theirs in ((found.read, MODEL.read), (found.close, MODEL.close), (found.memory, MODEL.memory)):
        assert ours == pytest.approx(theirs, rel=1e-6)
    assert found.exchange_seconds == pytest.approx(MODEL.exchange_seconds)


def test_a_term_that_is_not_there_has_nothing() -> None:
    model = replace(MODEL, close={**MODEL.close, "entries": 0.0})
    found = fit_model([made(load, form, model) for load in FITTED for form in FORMS])
    assert found.close["entries"] * expect(FITTED[0]).entries < 1e-9
    assert found.close["pairs"] == pytest.approx(model.close["pairs"], rel=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_no_other_coefficients_from_zero_on_fit_better(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = [{"a": one, "b": two, "c": three} for one, two, three in random.random((6, 3))]
    values = 0.1 + random.random(6)
    found = fit_terms("abc", rows, values.tolist())
    terms = np.array([[row[name] for name in "abc"] for row in rows]) / values[:, None]
    best = np.array([found[name] for name in "abc"])
    assert (best >= 0).all()
    slope = terms.T @ (terms @ best - 1)  # at the least it is flat, or leads out of what is allowed
    assert np.abs(slope[best > 0]).max(initial=0) < 1e-6
    assert (slope[best == 0] > -1e-6).all()


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0]])
def test_too_few_points_and_nothing_measured_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values"):
        fit_terms("ab", [{"a": 1.0, "b": 2.0}] * len(values), values)


def held_by(load: Load) -> dict[str, float]:
    """What the last slide of the load's events really holds, by the buckets themselves."""
    batch = events_of(load).combine_chunks().to_batches()[0]
    hashes = EventHashes.of(batch)
    buckets = buckets_of(hashes.user)
    assert len(np.unique(buckets)) == load.buckets
    last_ms = start_ms(load) + SLIDES * load.slide_ms
    found = dict.fromkeys(("items", "users", "entries", "pairs"), 0.0)
    for bucket in np.unique(buckets):
        window = ShardWindow("run", "shard", [0], StreamSettings(slide_ms=load.slide_ms).shards)
        rows = np.flatnonzero(buckets == bucket)
        window.add(batch.take(pa.array(rows)), hashes[rows])
        *_, state = (one for one in window.advance(0, last_ms - load.slide_ms) if isinstance(one, ShardState))
        tails = UserTails.from_bytes(state.payload)
        chunks = [one for one in window.advance(0, DRAINED_MS) if isinstance(one, Chunk)]
        assert {one.slide_end_ms for one in chunks} == {last_ms}
        tables = [(one.kind, pa.ipc.open_stream(one.payload).read_all()) for one in chunks]
        active = [table["item_hash"].to_pylist() for kind, table in tables if kind == "items"]
        found["items"] += len({*tails.item_hash.tolist(), *chain(*active)})
        found["users"] += len(tails.user_hash)
        found["entries"] += len(tails.item_hash)
        found["pairs"] += sum(len(Pairs.from_codes(_NO_ITEMS, table)) for kind, table in tables if kind == "pairs")
    return found


@pytest.mark.parametrize(
    "load", [Load(40, 400, 600, 300_000), Load(20, 5_000, 100, 600_000), Load(30, 60, 3_000, 300_000, buckets=1)]
)
def test_what_is_expected_of_a_load_is_what_its_events_hold(load: Load) -> None:
    counts = expect(load, SLIDES * load.slide_ms)
    for name, value in held_by(load).items():
        assert getattr(counts, name) == pytest.approx(value, rel=0.05), name


def test_an_id_and_a_user_take_what_is_said() -> None:
    recent, rows = RecentIds(300_000), 1_000
    table = events_of(Load(1, 50, 20, 300_000)).combine_chunks().to_batches()[0].slice(0, rows)
    recent.repeated(table["event_time_ms"].to_numpy(), EventHashes.of(table), np.zeros(rows, bool))
    assert sum(keys.nbytes for _, keys in recent._batches) == ID_BYTES * rows
    sizes = [len(UserTails(*columns).to_bytes()) for columns in (_columns(10, 1), _columns(10, 3))]
    assert sizes[1] - sizes[0] == 20 * ENTRY_BYTES
    assert len(UserTails(*_columns(20, 1)).to_bytes()) - sizes[0] == 10 * (USER_BYTES + ENTRY_BYTES)


def _columns(users: int, each: int) -> tuple[np.ndarray, ...]:
    entries = np.zeros(users * each, np.uint64)
    return np.arange(users, dtype=np.uint64), np.full(users, each, np.uint8), entries, entries.astype(np.int64)


def test_the_ids_are_those_of_two_slides_and_the_lateness() -> None:
    load = Load(10, 100, 100, 300_000, lateness_ms=60_000)
    assert known_bytes(load, expect(load))["ids"] == ID_BYTES * 10 * 660
    assert known_bytes(load, expect(load))["open_events"] == OPEN_BYTES * 10 * 360
