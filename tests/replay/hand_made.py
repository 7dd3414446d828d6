"""A log made by hand, for tests that need no file."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class HandMadeLog:
    """Event times in order and the row of the cut; stands in for a prepared log."""

    times_ms: tuple[int, ...]
    cut_row: int = 0
    name: str = "by-hand"
    fingerprint: str = "f" * 64

    def read(self, columns: Sequence[str] | None = None, start_row: int = 0, end_row: int | None = None) -> pa.Table:
        """Return the times of the rows asked for."""
        assert list(columns or []) == ["event_time_ms"]
        return pa.table({"event_time_ms": pa.array(self.times_ms[start_row:end_row], pa.int64())})
