"""Drifts in a real log: only what a drift reaches is changed, as often and from when on as the schedule says."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynmm_core.cli import main
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from simulators.injection import inject_drifts
from simulators.schedule import parse_schedule
from simulators.truth import Truth

HOUR_MS = 3_600_000
START_MS = 1_600_000_000_000
EVENTS, ITEMS, USERS, HOURS = 20_000, 50, 300, 200


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> PreparedLog:
    """A log like those from elsewhere: ids of its own, a rating, no event ids; some items far more often than others."""
    folder = tmp_path_factory.mktemp("log")
    (folder / "raw").mkdir()
    rng = np.random.default_rng(0)
    popularity = rng.permutation(1.0 / np.arange(1, ITEMS + 1))
    table = pa.table({
        "user_id": np.char.add("anna-", rng.integers(0, USERS, EVENTS).astype(str)),
        "item_id": np.char.add("film ", rng.choice(ITEMS, EVENTS, p=popularity / popularity.sum()).astype(str)),
        "timestamp": START_MS + np.sort(rng.integers(0, HOURS * HOUR_MS, EVENTS)),
        "rating": rng.integers(1, 6, EVENTS).astype(float),
    })  # fmt: skip
    pq.write_table(table, folder / "raw" / "interactions.parquet")
    prepare_folder(folder / "raw", folder / "data", Options(name="films"))
    return PreparedLog.open(folder / "data")


@pytest.fixture(scope="module")
def before(log: PreparedLog) -> pa.Table:
    return log.read()


def injected(log: PreparedLog, fields: str, seed: int = 1) -> tuple[np.ndarray, pa.Table, Truth]:
    """Which events were changed, the new log, and its truth."""
    table, file = inject_drifts(log, parse_schedule("[[drift]]\n" + fields, "x").drift, seed)
    changed = np.array(table["item_id"].to_pylist()) != np.array(log.read()["item_id"].to_pylist())
    return changed, table, Truth(file, None, None)


def hours(table: pa.Table, truth: Truth) -> np.ndarray:
    """Hours behind the cut (events,)."""
    return np.asarray((table["event_time_ms"].to_numpy() - truth.file.cut_ms) / HOUR_MS)


def test_nothing_but_items_from_the_start_on_is_touched(log: PreparedLog, before: pa.Table) -> None:
    changed, table, truth = injected(log, 'kind = "abrupt"\nstart = "12h"')
    assert truth.file.cut_ms == before["event_time_ms"][log.cut_row].as_py() and truth.file.source == log.fingerprint
    others = [name for name in table.column_names if name != "item_id"]
    assert table.select(others).equals(before.select(others))
    behind = hours(table, truth) >= 12
    assert not changed[~behind].any() and changed[behind].mean() > 0.9
    old, new = before["item_id"].to_numpy(zero_copy_only=False), table["item_id"].to_numpy(zero_copy_only=False)
    pairs = set(zip(old[behind], new[behind], strict=True))
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs}) == ITEMS


def test_magnitude_is_the_share_of_events_that_change(log: PreparedLog) -> None:
    whole, table, truth = injected(log, 'kind = "abrupt"')
    half, _, _ = injected(log, 'kind = "abrupt"\nmagnitude = 0.5')
    none, _, _ = injected(log, 'kind = "abrupt"\nmagnitude = 0.0')
    online = hours(table, truth) >= 0
    assert half[online].mean() == pytest.approx(whole[online].mean() / 2, abs=0.02) and not none.any()


def test_a_gradual_drift_reaches_more_and_more_events_and_an_incremental_one_more_and_more_items(log: PreparedLog) -> None:
    for kind in ("gradual", "incremental"):
        changed, table, truth = injected(log, f'kind = "{kind}"\nstart = "10h"\nend = "50h"')
        hour = hours(table, truth)
        rates = [changed[(hour >= first) & (hour < first + 10)].mean() for first in (0, 10, 20, 30, 40, 50)]
        assert rates[0] == 0 and (np.diff(rates[:5]) > 0.05).all() and rates[5] > 0.85
        middle = (hour >= 29) & (hour < 31)
        item = np.array(table["item_id"].to_pylist())[middle]
        mixed = [name for name in np.unique(item) if 0 < changed[middle][item == name].mean() < 1]
        assert len(mixed) > 10 or kind == "incremental"


def test_a_recurring_drift_deals_alike_at_every_return(log: PreparedLog, before: pa.Table) -> None:
    changed, table, truth = injected(log, 'kind = "recurring"\nend = "40h"\nperiod = "10h"')
    hour = hours(table, truth)
    dealt = []
    for first, on in ((0, True), (10, False), (20, True), (30, False), (40, False)):
        part = (hour >= first) & (hour < first + 10)
        assert (changed[part].mean() > 0.8) == on
        dealt.append({*zip(before["item_id"].filter(part).to_pylist(), table["item_id"].filter(part).to_pylist(), strict=True)})
    assert len(dealt[0] | dealt[2]) == ITEMS


def test_births_give_new_ids_and_deaths_take_old_ones(log: PreparedLog) -> None:
    changed, table, truth = injected(log, 'kind = "item_birth"\nid = "sequel"\nitems = 0.2\nstart = "12h"')
    items = np.array(table["item_id"].to_pylist())
    born = np.char.endswith(items, "~sequel")
    assert np.array_equal(born, changed) and len(np.unique(items[born])) == 10 == truth.drifts[0].items_affected
    assert {name.removesuffix("~sequel") for name in items[born]} == set(truth.drifts[0].items)

    changed, table, truth = injected(log, 'kind = "item_death"\nitems = 0.2\nstart = "12h"')
    dead, hour = np.isin(table["item_id"].to_pylist(), truth.drifts[0].items), hours(table, truth)
    assert not dead[hour >= 12].any() and dead[hour < 12].any()


def test_a_burst_pushes_its_items_and_noise_any_item(log: PreparedLog) -> None:
    changed, table, truth = injected(log, 'kind = "popularity_burst"\nitems = 0.04\nend = "20h"\nmagnitude = 0.4')
    during = (hours(table, truth) >= 0) & (hours(table, truth) < 20)
    pushed = np.isin(table["item_id"].to_pylist(), truth.drifts[0].items)
    assert changed[during].mean() == pytest.approx(0.4, abs=0.05) and not changed[~during].any() and pushed[changed].all()
    changed, table, truth = injected(log, 'kind = "label_noise"\nmagnitude = 0.5')
    counts = np.unique(np.array(table["item_id"].to_pylist())[changed], return_counts=True)[1]
    assert len(counts) == ITEMS and counts.max() < 2.5 * counts.min()


def test_segments_bound_a_cohort(log: PreparedLog, before: pa.Table) -> None:
    changed, table, truth = injected(log, 'kind = "cohort_shift"\nsegments = [2, 3]')
    cohort = np.isin(before["user_id"].to_pylist(), truth.drifts[0].users)
    assert 0.2 < cohort.mean() < 0.5 and not changed[~cohort].any() and changed[cohort & (hours(table, truth) >= 0)].mean() > 0.9


def test_one_seed_gives_one_log_and_null_the_old_one(log: PreparedLog, before: pa.Table) -> None:
    fields = 'kind = "abrupt"\nmagnitude = 0.5'
    assert injected(log, fields)[1].equals(injected(log, fields)[1])
    assert not injected(log, fields)[1].equals(injected(log, fields, seed=2)[1])
    assert injected(log, 'kind = "null"')[1].equals(before)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ('kind = "modality_outage"\nmodality = "text"\nend = 0.5', "a log shows no features"),
        ('kind = "item_death"', "all of them die"),
        ('kind = "abrupt"\nitems = ["film 99"]', "film 99 is none of the log's 50"),
        ('kind = "abrupt"\ntopics = [1]', "topics: 1 does not lie in 0 to 0"),
    ],
)
def test_what_a_log_cannot_have_is_refused(log: PreparedLog, fields: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        injected(log, fields)


def test_the_command_writes_a_log_to_prepare_and_a_truth_without_probabilities(log: PreparedLog, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--inject", str(log.path), "--preset", "item_birth", "--out", str(tmp_path / "out"), "--json"])
    assert not ended.value.code
    prepare_folder(tmp_path / "out", tmp_path / "data", Options(name="changed"))
    changed = PreparedLog.open(tmp_path / "data")
    assert changed.rows == EVENTS and changed.fingerprint != log.fingerprint and "rating" in changed.columns
    truth = Truth.load(tmp_path / "out", changed)
    assert [drift.kind for drift in truth.drifts] == ["item_birth"]
    with pytest.raises(UserError, match="not simulated"):
        truth.probabilities(np.zeros(1, int), np.zeros(1, int), np.zeros(1, int))
    with pytest.raises(UserError, match="another log"):
        Truth.load(tmp_path / "out", log)
