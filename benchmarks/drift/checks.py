"""What is to hold of the freshness gain: about nothing where nothing drifts, more than nothing where a drift is abrupt."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.drift.blocks import Blocks
from benchmarks.drift.names import NULL
from benchmarks.drift.protocol import Equivalence
from dynmm_core.metrics.significance import CONFIDENCE, EQUIVALENCE_CONFIDENCE

Verdict = Literal["holds", "fails", "inconclusive"]


@dataclass(frozen=True)
class Check:
    """One thing that is to hold: on which preset, what came out, in words and as bounds; p where a test has one."""

    preset: str
    verdict: Verdict
    value: float
    low: float
    high: float
    told: str
    p: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def check_equivalence(blocks: Blocks, asked: Equivalence) -> Check:
    """Test that the freshness gain on the null stream lies within a margin, a share of static's NDCG@10, to both sides.

    Two one-sided tests at 5 %, which is the same as the 90 % interval within the margin (Schuirmann, 1987). Beyond the margin
    the benchmark fails: who gains from recency where nothing changes knows what he is asked. It fails, too, where the figure
    itself lies beyond, as long as the interval is no wider than the margins are apart. What is left decides nothing: the
    interval reaches over a margin, or there are too few events.
    """
    gain, margin = blocks.freshness_gain_over_static(), asked.margin
    low, high = gain.interval(EQUIVALENCE_CONFIDENCE)
    beyond = low > margin or high < -margin
    outside = abs(gain.value) > margin and high - low <= 2.0 * margin
    what = f"freshness gain {gain.value:+.2%} of static, 90 % interval {low:+.2%} to {high:+.2%}, on {blocks.events:,} events"
    if beyond or outside:
        verdict, told = "fails", f"{what}: outside ±{margin:.1%}: a leak, or age itself costs"
    elif blocks.events < asked.events:
        verdict, told = "inconclusive", f"{what}: fewer than the {asked.events:,} that the test takes"
    elif -margin < low and high < margin:
        verdict, told = "holds", f"{what}: within ±{margin:.1%}"
    else:
        verdict, told = "inconclusive", f"{what}: too wide for ±{margin:.1%}"
    return Check(NULL, verdict, gain.value, low, high, told, gain.equivalence_p_value(margin))


def check_fresher(preset: str, blocks: Blocks) -> Check:
    """Test that the lower bound of the freshness gain's 95 % interval is above 0."""
    gain = blocks.freshness_gain()
    low, high = gain.interval(CONFIDENCE)
    told = f"freshness gain {100 * gain.value:+.2f} points of NDCG@10, 95 % interval {100 * low:+.2f} to {100 * high:+.2f}"
    holds = low > 0.0
    return Check(preset, "holds" if holds else "fails", gain.value, low, high, told + (" > 0" if holds else ": not above 0"))
