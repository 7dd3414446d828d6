"""Sliding sums equal their definition at every moment, whatever the order of panes and gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynmm_core.windows.horizons import PANE_MS, DecayedCounts, HorizonCounts

PANES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 5), st.integers(1, 9)), max_size=60)
STEPS = st.lists(st.integers(1, 20), min_size=1, max_size=8)


def arrays(cells: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pane, item, count = (np.array([cell[k] for cell in cells], np.int64) for k in range(3))
    return pane * PANE_MS, item, count


@settings(max_examples=80, deadline=None)
@given(PANES, STEPS)
def test_horizon_sums_equal_brute_force(cells: list[tuple[int, int, int]], steps: list[int]) -> None:
    horizons = (PANE_MS, 3 * PANE_MS, 12 * PANE_MS)
    counts = HorizonCounts(horizons)
    cells = sorted(cells)
    given_until, as_of = 0, 0
    for step in steps:
        as_of += step
        counts.observe(*arrays([cell for cell in cells if given_until <= cell[0] < as_of]))
        given_until = as_of
        counts.advance(as_of * PANE_MS)
        for row, horizon in enumerate(horizons):
            low = as_of - horizon // PANE_MS
            expected = np.zeros(6, np.int64)
            for pane, item, count in cells:
                if low <= pane < as_of:
                    expected[item] += count
            assert counts.sums(5)[row].tolist() == expected.tolist()


@settings(max_examples=50, deadline=None)
@given(PANES, STEPS)
def test_decayed_counts_equal_the_formula(cells: list[tuple[int, int, int]], steps: list[int]) -> None:
    half_life = 4 * PANE_MS
    counts = DecayedCounts((half_life,))
    cells = sorted(cells)
    given_until, as_of = 0, 0
    for step in steps:
        as_of += step
        counts.observe(*arrays([cell for cell in cells if given_until <= cell[0] < as_of]))
        given_until = as_of
        counts.advance(as_of * PANE_MS)
        expected = np.zeros(6)
        for pane, item, count in cells:
            if pane < as_of:
                expected[item] += count * 2.0 ** (-(as_of - pane - 1) * PANE_MS / half_life)
        assert counts.values(5)[0] == pytest.approx(expected)


def test_a_pane_of_a_closed_slide_is_refused() -> None:
    counts = HorizonCounts((PANE_MS,))
    counts.advance(10 * PANE_MS)
    with pytest.raises(ValueError, match="slides close in order"):
        counts.observe(*arrays([(9, 1, 1)]))


def test_a_horizon_that_is_no_multiple_of_the_pane_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        HorizonCounts((PANE_MS + 1,))
