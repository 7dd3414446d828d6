"""What pre-training reads of a log before its cut."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynmm_core.adapt.pretrain import read_cut
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.evidence.context import MOST_COLUMNS
from tests.replay.tiny import tiny_events


@pytest.fixture
def log(tmp_path: Path) -> PreparedLog:
    """More columns than can describe a request."""
    events, rng = tiny_events(), np.random.default_rng(0)
    columns = {f"c{number}": rng.integers(0, 3, len(events["timestamp"])) for number in range(MOST_COLUMNS + 2)}
    ids = {name: events[name].astype(str) for name in ("user_id", "item_id")}
    (tmp_path / "raw").mkdir()
    pq.write_table(pa.table({**ids, "timestamp": events["timestamp"], **columns}), tmp_path / "raw" / "interactions.parquet")
    prepare_folder(tmp_path / "raw", tmp_path / "data", Options(name="wide"))
    return PreparedLog.open(tmp_path / "data")


def test_columns_for_which_there_is_no_place_are_told(log: PreparedLog, caplog: pytest.LogCaptureFixture) -> None:
    cut, context = read_cut(log, with_context=True)
    assert list(context.values) == [f"c{number}" for number in range(MOST_COLUMNS)] and cut.context.shape[1] == MOST_COLUMNS
    (told,) = caplog.messages
    assert f"c{MOST_COLUMNS}, c{MOST_COLUMNS + 1} left out" in told and "extra_columns in dataset.toml" in told


def test_a_log_read_without_context_has_none_and_says_nothing(log: PreparedLog, caplog: pytest.LogCaptureFixture) -> None:
    cut, context = read_cut(log)
    assert len(context) == 0 and cut.context.shape == (log.cut_row, 0) and not caplog.messages
