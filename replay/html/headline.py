"""The sentence that a report begins with, and the figures below it."""

from dataclasses import dataclass
from math import isfinite

from dynmm_core.quantities import format_duration
from replay.html.run_data import RunData
from replay.oracle import ORACLE
from replay.results import ADAPTED, HEADLINE, OVERALL, SINGLE_MODELS, Ratio

UNDECIDED = "cannot be told from"


@dataclass(frozen=True)
class Fact:
    """A figure with its unit and what it is of."""

    name: str
    value: str
    about: str


def headline(run: RunData) -> str:
    """Return what the run shows in one sentence: the adapted model against the first that it is measured against."""
    if run.ratios:
        return ratio_sentence(run.ratios[0])
    means = {model: run.metrics["models"][model][HEADLINE] for model in run.results.models if model in run.metrics["models"]}
    if not means:
        return "No event was ranked."
    best = max(means, key=lambda model: means[model])
    among = f"{best} is the best of {len(means)} models" if len(means) > 1 else f"{best} ranked alone"
    return f"{among}: {HEADLINE.upper()} {100 * means[best]:.2f} percent."


def ratio_sentence(ratio: Ratio) -> str:
    """Return what a ratio says of its two models, no more than its interval allows."""
    rival = f"the best simple model, {ratio.denominator}" if ratio.denominator in SINGLE_MODELS else ratio.denominator
    metric = ratio.metric.upper()
    if ratio.blocks < 2 or not isfinite(ratio.high):
        told = f"{ratio.numerator} has {ratio.ratio:.3f} times the {metric} of {rival}"
        return f"{told}; {ratio.windows} windows are too few for an interval."
    stands = f"{ratio.numerator} {standing(ratio.low, ratio.high, 1.0)} {rival}"
    return f"{stands}: {ratio.ratio:.3f} times its {metric} (95 % interval {ratio.low:.3f} to {ratio.high:.3f})."


def standing(low: float, high: float, even: float) -> str:
    """Return how one stands to another whose difference or ratio lies between low and high."""
    if low > even:
        return "is ahead of"
    return "is behind" if high < even else UNDECIDED


def facts(run: RunData) -> list[Fact]:
    """Return the figures that stand below the headline."""
    models, subject = run.metrics["models"], _subject(run)
    found = []
    if subject is not None:
        found.append(Fact(f"{HEADLINE.upper()} of {subject}", f"{100 * models[subject][HEADLINE]:.2f} %", "mean over events"))
    if subject is not None and (share := _share_of_oracle(run, subject)) is not None:
        found.append(Fact("of the oracle's", f"{100 * share:.0f} %", "what the truth itself would reach"))
    found.append(Fact("ranked", f"{run.metrics['events']:,}", f"events in {run.metrics['windows']:,} one-hour windows"))
    if subject is not None:
        spent = run.metrics.get("update_cpu_seconds", {}).get(subject)
        if spent is not None and run.metrics["events"]:
            found.append(Fact("to learn", f"{1_000 * spent / run.metrics['events']:.2f} s", "of CPU per thousand events"))
        found.append(Fact("staleness", format_duration(models[subject]["staleness_ms"]), "mean age of what a request met"))
    return found


def _subject(run: RunData) -> str | None:
    names = [name for name in (ADAPTED, *run.results.models) if (name, OVERALL) in run.results.strata]
    return names[0] if names else None


def _share_of_oracle(run: RunData, model: str) -> float | None:
    if ORACLE not in run.windows.models:
        return None
    best = run.windows.total(ORACLE, HEADLINE)
    return run.windows.total(model, HEADLINE) / best if best else None
