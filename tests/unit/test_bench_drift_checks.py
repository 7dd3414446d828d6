"""What the benchmark estimates and decides, from sums by hand: the freshness gain on the null stream and on an abrupt drift."""

import numpy as np
import pytest

from benchmarks.drift.blocks import Blocks
from benchmarks.drift.checks import check_equivalence, check_fresher
from benchmarks.drift.protocol import Equivalence
from replay.drift_figures import WindowSeries

ASKED = Equivalence(margin=0.02, events=150_000)


def blocks_of(gains: list[float], n: int = 10_000, static: float = 0.2) -> Blocks:
    """Blocks of ``n`` events in which adapted is ahead of itself a day older by these shares of static."""
    events = np.full(len(gains), float(n))
    day_old = 0.3 * events
    ndcg = {"static": static * events, "adapted_day_old": day_old, "adapted": day_old + np.array(gains) * static * events}
    return Blocks(events, {**ndcg, "oracle": 0.5 * events}, 6)


@pytest.mark.parametrize(
    ("gains", "n", "verdict", "told"),
    [
        ([0.004, 0.006, 0.005, 0.005], 40_000, "holds", "within ±2.0%"),
        ([-0.019, -0.018, -0.018, -0.019], 40_000, "holds", "within ±2.0%"),
        ([0.03, 0.031, 0.029, 0.03], 40_000, "fails", "outside ±2.0%: a leak"),
        ([-0.03, -0.031, -0.029, -0.03], 40_000, "fails", "outside"),
        ([0.0205, 0.0235, 0.0195, 0.0185], 40_000, "fails", "outside"),  # reaches in, and the figure itself lies outside
        ([0.01, 0.03, -0.01, 0.03], 40_000, "inconclusive", "too wide"),
        ([0.2, -0.1, 0.2, -0.1], 40_000, "inconclusive", "too wide"),  # far outside, but nobody knows
        ([0.004, 0.006, 0.005, 0.005], 30_000, "inconclusive", "fewer than the 150,000"),
        ([0.3, 0.31, 0.3, 0.29], 100, "fails", "outside"),  # a leak needs no large sample
    ],
)
def test_the_null_streams_verdict(gains: list[float], n: int, verdict: str, told: str) -> None:
    check = check_equivalence(blocks_of(gains, n), ASKED)
    assert check.verdict == verdict
    assert told in check.told
    assert f"{4 * n:,} events" in check.told
    assert check.value == pytest.approx(np.mean(gains))


def test_the_verdict_and_the_two_one_sided_tests_agree() -> None:
    for shift in np.linspace(-0.03, 0.03, 61):
        check = check_equivalence(blocks_of([shift - 0.005, shift + 0.004, shift + 0.001, shift], 40_000), ASKED)
        assert check.p is not None
        assert (check.p < 0.05) == (check.verdict == "holds")


@pytest.mark.parametrize(
    ("gains", "verdict"), [([0.1, 0.2, 0.15], "holds"), ([0.1, 0.5, -0.2], "fails"), ([-0.1, -0.2, -0.1], "fails")]
)
def test_on_an_abrupt_drift_the_lower_bound_is_above_0(gains: list[float], verdict: str) -> None:
    check = check_fresher("abrupt", blocks_of(gains))
    assert (check.preset, check.verdict) == ("abrupt", verdict)
    assert (check.low > 0.0) == (verdict == "holds")


def series(n: list[int], static: list[float]) -> WindowSeries:
    return WindowSeries(np.arange(len(n)), np.array(n), {"static": np.array(static)})


def test_blocks_never_span_two_seeds_and_every_event_counts_once() -> None:
    blocks = Blocks.of([series([1] * 7, [0.5] * 7), series([2] * 6, [0.5] * 6)])
    assert blocks.n.tolist() == [6, 1, 12]
    assert blocks.ndcg["static"].tolist() == [3.0, 0.5, 3.0]
    assert blocks.events == 19
    assert blocks.mean("static").value == pytest.approx(6.5 / 19)


def test_a_long_stream_has_blocks_of_a_day() -> None:
    assert Blocks.of([series([1] * 240, [0.5] * 240)]).n.tolist() == [24] * 10


def test_the_share_of_the_share_of_gap_goes_from_static_to_the_oracle() -> None:
    blocks = blocks_of([0.1, 0.2])
    assert blocks.share_of_gap("static").value == 0.0
    assert blocks.share_of_gap("oracle").value == pytest.approx(1.0)
    assert blocks.share_of_gap("adapted_day_old").value == pytest.approx((0.3 - 0.2) / (0.5 - 0.2))
    assert blocks.block_differences("adapted", "adapted_day_old") == pytest.approx([0.02, 0.04])
