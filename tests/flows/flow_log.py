"""A small log for the flow tests, and how to read what the recording engine wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from flows.config import FlowConfig

ROWS = 3000
START_MS = 1_700_000_000_000


def write_log(folder: Path, **further: Any) -> Path:
    """A prepared log of 40 h: 200 users, 50 items, ties, a gap of 10 h; ``further`` columns (ROWS,) beside."""
    draw = np.random.default_rng(5)
    minutes = np.sort(draw.integers(0, 30 * 60, ROWS))
    times = START_MS + (minutes + np.where(minutes > 900, 600, 0)) * 60_000
    columns = {
        "user_id": [f"u{user}" for user in draw.integers(0, 200, ROWS)],
        "item_id": [f"i{item}" for item in draw.integers(0, 50, ROWS)],
        "timestamp": times,
        "event_id": [f"e{number:05}" for number in draw.permutation(ROWS)],
        "zone": [f"z{zone}" for zone in draw.integers(0, 3, ROWS)],
    }
    source = folder / "source"
    source.mkdir(parents=True)
    pq.write_table(pa.table({**columns, **further}), source / "interactions.parquet")
    prepare_folder(source, folder / "log", Options(None, None))
    return folder / "log"


def slides_of(config: FlowConfig) -> list[dict[str, Any]]:
    """What the recording engine wrote down."""
    return [json.loads(line) for line in (config.run_dir / "slides.jsonl").read_text().splitlines()]
