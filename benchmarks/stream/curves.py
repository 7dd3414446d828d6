"""What a slide costs by the length of its horizon, and by the items that are active in it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.stream.events import LATENESS_MS, SLIDE_MS, START_MS, WINDOW_MS
from benchmarks.stream.sliding import SlidingWindows
from dynmm_core.console import print_table
from dynmm_core.windows.buckets import BUCKET_KEYS, split_by_bucket
from dynmm_core.windows.hashes import EventHashes
from dynmm_core.windows.pairs import PairSettings
from dynmm_core.windows.shard import ShardSettings, ShardWindow

HORIZONS_MS = tuple(WINDOW_MS * times for times in (1, 2, 6, 12, 24, 48))
ITEMS = (1_000, 10_000, 100_000, 1_000_000)
_HORIZON_ITEMS, _HORIZON_EVENTS = 20_000, {"windows": 90_000, "full": 90_000}
_EVENTS_PER_USER = 9
_MEASURED_SLIDES = 6
_TRAIN_EVENTS = 50_000
_BATCH_ROWS = 16_384
Rows = list[dict[str, Any]]
Feed = Callable[[pa.RecordBatch, int], None]


def measure_curves(say: Callable[[str], None]) -> Rows:
    """CPU milliseconds per slide once the horizon is full: by horizon, then by items that are each active once in a slide.

    Profile "windows" counts items, its horizon is the window; "full" is the work of all buckets, its horizon that of co-clicks.
    """
    rows: Rows = []
    for profile, events in _HORIZON_EVENTS.items():
        for horizon_ms in HORIZONS_MS:
            say(f"curves: {profile}, a horizon of {horizon_ms // 60_000} min")
            rows.append({"curve": "horizon", **_row(profile, horizon_ms, min(_HORIZON_ITEMS, events), events)})
        for items in ITEMS:
            say(f"curves: {profile}, {items} active items")
            rows.append({"curve": "items", **_row(profile, WINDOW_MS, items, items)})
    return rows


def print_curves(rows: Rows) -> None:
    """A table of the curves, where there are any."""
    if rows:
        lines = [[f"{row['profile']}, {row['horizon_min']} min", *(f"{row[name]:,}" for name in _COLUMNS)] for row in rows]
        print_table(["profile, horizon", "active items", "events per slide", "CPU ms per slide"], lines)


_COLUMNS = ("active_items", "events_per_slide", "cpu_ms_per_slide")


def _row(profile: str, horizon_ms: int, items: int, events: int) -> dict[str, Any]:
    feed = _windows(horizon_ms) if profile == "windows" else _buckets(horizon_ms)
    filled = horizon_ms // SLIDE_MS + 2
    spent = []
    for number, (batch, slide_end_ms) in zip(range(filled + _MEASURED_SLIDES), _slides(items, events), strict=False):
        begun = time.process_time()
        feed(batch, slide_end_ms)
        if number >= filled:
            spent.append(time.process_time() - begun)
    return {
        "profile": profile, "horizon_min": horizon_ms // 60_000, "active_items": items, "events_per_slide": events,
        "cpu_ms_per_slide": round(1_000 * float(np.median(spent)), 2),
    }  # fmt: skip


def _windows(horizon_ms: int) -> Feed:
    windows = SlidingWindows(1, horizon_ms, SLIDE_MS, LATENESS_MS, lambda cells: None)
    return lambda batch, _: windows.add(0, batch["event_time_ms"].to_numpy(), batch["item_id"])


def _buckets(horizon_ms: int) -> Feed:
    pairs = PairSettings(rule_gap_ms=min(horizon_ms, PairSettings().rule_gap_ms), co_click_gap_ms=horizon_ms)
    settings = ShardSettings(SLIDE_MS, _TRAIN_EVENTS, pairs)
    windows = [ShardWindow("curves", key, [0], settings) for key in BUCKET_KEYS]

    def feed(batch: pa.RecordBatch, slide_end_ms: int) -> None:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            piece = batch.slice(start, _BATCH_ROWS)
            for bucket, *events in split_by_bucket(piece, EventHashes.of(piece)):
                windows[bucket].add(*events)
        for window in windows:
            for _ in window.advance(0, slide_end_ms):
                pass

    return feed


def _slides(items: int, events: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The events of one slide after the other, in each of which every item has one, and the slide's end."""
    random = np.random.default_rng(0)
    item_ids = pa.array([f"i{item:07}" for item in range(items)])
    user_ids = pa.array([f"u{user:06}" for user in range(max(1, events // _EVENTS_PER_USER))])
    rows = pa.array([f"{row:07}" for row in range(events)])
    for start_ms in range(START_MS, 1 << 62, SLIDE_MS):
        chosen = np.concatenate([np.arange(items), random.integers(0, items, events - items)])
        random.shuffle(chosen)
        columns = {
            "event_time_ms": pa.array(start_ms + np.arange(events) * SLIDE_MS // events),
            "event_id": pc.binary_join_element_wise(f"{start_ms}-", rows, "").cast(pa.string()),
            "user_id": user_ids.take(pa.array(random.integers(0, len(user_ids), events))),
            "item_id": item_ids.take(pa.array(chosen)),
        }
        yield pa.RecordBatch.from_pydict(columns), start_ms + SLIDE_MS
