"""Goes on with a journal behind a slide, without end, and says each slide's number on stdout; meant to be killed."""

import sys
from pathlib import Path

import pyarrow as pa

from dynmm_core.adapt import journal
from dynmm_core.windows.slides import Slide


def slide(number: int, writer: str) -> Slide:
    """Slide ``number`` of two hundred events, whose users name their writer."""
    times = pa.array([number * 10] * 200, pa.int64())
    events = pa.table({"user_id": [writer] * 200, "item_id": [f"i{number}"] * 200, "event_time_ms": times})
    return Slide(number * 10 - 10, number * 10, events, events.slice(0, 0), 0, 200)


if __name__ == "__main__":
    folder, through, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    journal._ENTRIES_PER_FILE = 4
    written = journal.SlideJournal(folder)
    print("ready", flush=True)
    written.begin(through * 10)
    for number in range(through + 1, through + 2_000):
        written.append(slide(number, name))
        print(number, flush=True)
