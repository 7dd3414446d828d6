"""The result table, and the lines below it that say what the figures rest on."""

from collections.abc import Mapping
from typing import Any

from dynmm_core.adapt.settings import COSTLY_MODELS
from dynmm_core.metrics.ranking import METRICS
from dynmm_core.quantities import format_duration, format_time
from replay.like import Likeness
from replay.results import Ratio

HEADERS = ("model", *(name.upper() for name in METRICS), "staleness")


def table_rows(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table's rows from the document of metrics.json: metrics in percent, staleness as its mean."""
    return [
        (name, *(f"{100 * figures[metric]:.2f}" for metric in METRICS), format_duration(figures["staleness_ms"]))
        for name, figures in metrics["models"].items()
    ]


def run_line(metrics: Mapping[str, Any]) -> str:
    """Return the sentence about what all models share, for they are ranked in one pass: events, windows, seconds."""
    return f"{metrics['events']:,} events in {metrics['windows']:,} windows, {metrics['seconds']:,.0f} seconds"


def recall_line(metrics: Mapping[str, Any]) -> str | None:
    """Return the sentence on how often the target was a candidate, beyond which no order of them helps; None if unknown."""
    recall = metrics["models"].get("adapted", {}).get("candidate_recall")
    return None if recall is None else f"adapted had {100 * recall:.2f} percent of the targets among its candidates"


def cost_line(metrics: Mapping[str, Any]) -> str | None:
    """Return the sentence about what the models' updates cost, where a costly one ran."""
    spent = metrics.get("update_cpu_seconds", {})
    if not set(spent) & set(COSTLY_MODELS):
        return None
    return "CPU seconds of update: " + ", ".join(f"{name} {seconds:,.1f}" for name, seconds in spent.items())


def drift_line(metrics: Mapping[str, Any]) -> str | None:
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
        return f"{head} (no interval: {ratio.windows} windows fill no two blocks of {ratio.block})"
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
