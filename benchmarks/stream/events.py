"""The events that every engine is given, and the forms in which they lie: JSON lines, Parquet, topics."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

START_MS = 1_700_000_100_000  # on the grid of five minutes
WINDOW_MS, SLIDE_MS = 1_800_000, 300_000
LATENESS_MS = 60_000
_BLOCK_ROWS = 250_000
_GROUP_ROWS = 65_536


@dataclass(frozen=True)
class EventPlan:
    """How many events there are, and of what kind. ``density`` is in events per event-second, ``disorder_ms`` bounds delays."""

    events: int = 2_000_000
    density: int = 300
    users: int = 10_000
    items: int = 20_000
    disorder_ms: int = 3_000
    seed: int = 0


def make_events(plan: EventPlan) -> pa.Table:
    """The events in order of arrival: users and items follow Zipf's law, and each event is delayed at random."""
    random = np.random.default_rng(plan.seed)
    times = START_MS + np.arange(plan.events) * 1_000 // plan.density
    order = np.argsort(times + random.integers(0, plan.disorder_ms + 1, plan.events), kind="stable")
    columns = {
        "event_time_ms": pa.array(times[order]),
        "event_id": _names("e", order, 10),
        "user_id": _names("u", _draw(random, plan.users, 0.5, plan.events), 5),
        "item_id": _names("i", _draw(random, plan.items, 1.0, plan.events), 6),
    }
    return pa.table(columns)


def write_json(events: pa.Table, path: Path) -> None:
    """One JSON object per line."""
    with path.open("wb") as file:
        for first in range(0, events.num_rows, _BLOCK_ROWS):
            block = events.slice(first, _BLOCK_ROWS)
            parts = ['{"event_time_ms":', block["event_time_ms"].cast(pa.string())]
            for name in ("event_id", "user_id", "item_id"):
                parts += [f',"{name}":"' if name == "event_id" else f'","{name}":"', block[name]]
            lines = pc.binary_join_element_wise(*parts, '"}\n', "").combine_chunks()
            _, offsets, data = lines.buffers()
            bounds = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
            file.write(memoryview(data)[int(bounds[0]) : int(bounds[-1])])


def write_parquet(events: pa.Table, path: Path) -> None:
    """The table as one Parquet file."""
    pq.write_table(events, path, row_group_size=_GROUP_ROWS)


def density_of(events: pa.Table) -> float:
    """Events per event-second."""
    spread = pc.min_max(events["event_time_ms"]).as_py()
    return float(events.num_rows * 1_000 / max(1, spread["max"] - spread["min"]))


def _draw(random: np.random.Generator, count: int, exponent: float, size: int) -> np.ndarray:
    """Numbers (size,) below ``count``: the one of rank r with a weight of r^-exponent, ranks in random order."""
    shares = np.cumsum(np.arange(1, count + 1) ** -exponent)
    ranks = np.searchsorted(shares, random.random(size) * shares[-1])
    return np.asarray(random.permutation(count)[ranks])


def _names(prefix: str, numbers: np.ndarray, digits: int) -> pa.Array:
    padded = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width=digits, padding="0")
    return pc.binary_join_element_wise(prefix, padded, "").cast(pa.string())
