"""The result table, and the lines below it that say what the figures rest on."""

from collections.abc import Mapping
from typing import Any

from dynmm_core.adapt.settings import COSTLY_MODELS
from dynmm_core.metrics.ranking import METRICS
from dynmm_core.quantities import format_duration, format_time
from replay.like import Likeness
from replay.results import LEAST_WINDOWS, Ratio

HEADERS = ("model", *(name.upper() for name in METRICS), "staleness")


def table_rows(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table's rows from the document of metrics.json: metrics in percent, staleness as its mean."""
    return [
        (name, *(f"{100 * figures[metric]:.2f}" for metric in METRICS), format_duration(figures["staleness_ms"]))
        for name, figures in metrics["models"].items()
    ]


def drift_table(metrics: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]] | None:
    """Return headers and rows on how the models followed the drifts; None for a run without an oracle.

    Share of the oracle's gap in percent, regret in NDCG@10 summed over events, and of each drift the windows until recovery:
    "never" if that did not happen before the next change, "-" where too few windows lie around it.
    """
    drift = metrics.get("drift")
    if not drift or not drift["oracle"]:
        return None
    rows = [
        (name, _shown(figures["share_of_gap"], 100), _shown(figures["regret"]), *map(_recovery, figures["drifts"]))
        for name, figures in drift["models"].items()
    ]
    drifts = next(iter(drift["models"].values()))["drifts"]
    return ("model", "share of gap", "regret", *(f"recovery: {one['drift']}" for one in drifts)), rows


def _shown(value: float | None, factor: float = 1.0) -> str:
    return "-" if value is None else f"{factor * value:,.1f}"


def _recovery(followed: Mapping[str, Any]) -> str:
    if not followed["measured"]:
        return "-"
    windows = followed["recovery_windows"]
    return "never" if windows is None else str(windows)


def run_line(metrics: Mapping[str, Any]) -> str:
    """Return the sentence about what all models share, for they are ranked in one pass: events, windows, seconds."""
    return f"{metrics['events']:,} events in {metrics['windows']:,} windows, {metrics['seconds']:,.0f} seconds"


def recall_line(metrics: Mapping[str, Any]) -> str | None:
    """Return the sentence on how often the target was a candidate, beyond which no order of them helps; None if unknown."""
    recall = metrics["models"].get("adapted", {}).get("candidate_recall")
    return None if recall is None else f"adapted had {100 * recall:.2f} percent of the targets among its candidates"


def oracle_line(metrics: Mapping[str, Any]) -> str | None:
    """Return the sentence on why a run with a truth has no oracle; None where it has one, or no truth."""
    if metrics.get("drift", {}).get("oracle", True):
        return None
    return "no oracle: drifts were put into a log that was not simulated, so that nobody knows its probabilities"


def cost_line(metrics: Mapping[str, Any]) -> str | None:
    """Return the sentence about what the models' updates cost, where a costly one ran."""
    spent = metrics.get("update_cpu_seconds", {})
    if not set(spent) & set(COSTLY_MODELS):
        return None
    return "CPU seconds of update: " + ", ".join(f"{name} {seconds:,.1f}" for name, seconds in spent.items())


def alarms_line(metrics: Mapping[str, Any]) -> str | None:
    """Return the sentence on suspected drift: how many alarms, and the first of them; None where nobody looked."""
    alarms = metrics.get("drift_alarms")
    if alarms is None:
        return None
    if not alarms:
        return "no drift suspected"
    first = alarms[0]
    count = f"{len(alarms)} alarms, the first" if len(alarms) > 1 else "one alarm"
    return (
        f"drift suspected: {count} by {first['detector']} on {first['signal']} in the slide to"
        f" {format_time(first['slide_end_ms'])}, {first['value']:.3f} where {first['expected']:.3f} was expected"
    )


def ratio_line(ratio: Ratio) -> str:
    """Return the sentence about the ratio of two models and its uncertainty."""
    head = f"{ratio.numerator} / {ratio.denominator} {ratio.metric.upper()} = {ratio.ratio:.3f}"
    if ratio.blocks < 2:
        # One block drawn again and again has no spread: its interval would claim what nobody knows.
        return f"{head} (no interval: {ratio.windows} windows, fewer than {LEAST_WINDOWS}, are too few)"
    return (
        f"{head} (95 % interval {ratio.low:.3f} to {ratio.high:.3f}, block bootstrap:"
        f" {ratio.blocks} blocks of {ratio.block} windows)"
    )


def accounting_line(accounting: Mapping[str, int]) -> str:
    """Return the sentence on where every event that was read went."""
    parts = [f"{accounting.get(part, 0):,} {part}" for part in ("used", "late", "duplicate", "dead", "pending")]
    return f"{accounting['read']:,} events read = {' + '.join(parts)}"


def likeness_line(likeness: Likeness) -> str:
    """Return the sentence on how many versions are those of the live run."""
    line = f"{likeness.equal:,} of {likeness.slides:,} versions equal those of {likeness.run}"
    if likeness.first_difference_ms is None:
        return line
    return f"{line}; the first that differs is that of the slide to {format_time(likeness.first_difference_ms)}"
