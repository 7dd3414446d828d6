"""One slide as adapt takes it in: events in indices, and their counts per pane."""

from dataclasses import dataclass

import numpy as np

from dynmm_core.evidence.panes import PaneCounts


@dataclass(frozen=True)
class SlideEvents:
    """One complete slide in indices: events (n,) in canonical order, its pane counts, and context codes (n, columns)."""

    slide_end_ms: int
    user_idx: np.ndarray
    item_idx: np.ndarray
    event_time_ms: np.ndarray
    panes: PaneCounts
    context: np.ndarray
