"""An outcome on the terminal: the table, what it rests on, and where everything lies."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dynmm_core.console import print_table
from replay.runner import Outcome
from replay.table import (
    HEADERS,
    accounting_line,
    alarms_line,
    cost_line,
    drift_table,
    likeness_line,
    oracle_line,
    ratio_line,
    recall_line,
    run_line,
    table_rows,
)


def print_outcome(outcome: Outcome, stages: Mapping[str, float] | None = None) -> None:
    """Print the result table and the lines below it to stdout; ``stages``: seconds by stage, if there were several."""
    print_table(HEADERS, table_rows(outcome.metrics), title=f"{outcome.metrics['dataset']}: test, then learn (percent)")
    drift = drift_table(outcome.metrics)
    if drift is not None:
        print_table(*drift, title="how the drifts were followed (percent, NDCG@10, windows)")
    for line in outcome_lines(outcome, stages or {}):
        print(line)


def outcome_lines(outcome: Outcome, stages: Mapping[str, float]) -> list[str]:
    """Return the lines below the table."""
    lines = [run_line(outcome.metrics), *(ratio_line(ratio) for ratio in outcome.ratios)]
    found = (line(outcome.metrics) for line in (recall_line, oracle_line, cost_line, alarms_line))
    lines += [line for line in found if line is not None]
    lines.append(accounting_line(outcome.accounting))
    if outcome.likeness:
        lines.append(likeness_line(outcome.likeness))
    if stages:
        lines.append("seconds: " + ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in stages.items()))
    return [
        *lines,
        f"peak memory: {outcome.metrics['peak_rss_mb']:,.0f} MiB",
        f"run:   {outcome.run}",
        f"store: {outcome.store} (version {outcome.metrics['store_version']})",
    ]


def outcome_document(outcome: Outcome, stages: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return the JSON document of an outcome: metrics.json, and what the lines below the table say."""
    return {
        **outcome.metrics,
        "ratios": [asdict(ratio) for ratio in outcome.ratios],
        "accounting": outcome.accounting,
        **({"like": asdict(outcome.likeness)} if outcome.likeness else {}),
        "run": str(outcome.run),
        "store": str(outcome.store),
        **({"stages": dict(stages)} if stages else {}),
    }
