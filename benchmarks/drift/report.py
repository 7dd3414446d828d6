"""The rows as tables, one for each preset, and below them what holds."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from dynmm_core.console import print_table


def print_document(document: dict[str, Any]) -> None:
    """Print the tables of all presets, the checks, and which cells are missing."""
    presets: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in document["rows"]:
        presets[row["preset"]].append(row)
    for preset, rows in presets.items():
        columns = _columns(rows)
        print_table(list(columns), list(zip(*columns.values(), strict=True)), title=_title(preset, rows[0]))
        print(_pass_line(rows[0]))
        print()
    if presets:
        print("± reaches to the ends of the 95 % interval over blocks; p is corrected over all comparisons with adapted (Holm).")
    for check in document["checks"]:
        print(f"{check['preset']}: {check['verdict']}: {check['told']}")
    missing = ", ".join(document["missing"])
    print(f"cells missing: {missing or 'none'}")
    print(f"CPU hours of the finished cells: {document['cpu_hours']:.2f}")


def _title(preset: str, row: dict[str, Any]) -> str:
    seeds = ", ".join(str(seed) for seed in row["seeds"])
    return f"{preset}: {row['events']:,} events in {row['windows']:,} windows, seeds {seeds}"


def _pass_line(row: dict[str, Any]) -> str:
    spent, peak = row["pass_cpu_seconds_per_window"], row["peak_rss_mb"]
    cost = "cost unknown" if spent is None else f"{spent:.2f} CPU seconds a window, {peak:,.0f} MiB at the peak"
    return f"one pass for all models: {cost}; {row['blocks']} blocks of {row['block_windows']} windows"


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The columns by their heads; one that says nothing of any model is left out."""
    columns = {
        "model": [row["model"] for row in rows],
        "NDCG@10 %": [_figure(row, "ndcg@10", 100.0, "{:.2f}") for row in rows],
        "share of gap %": [_figure(row, "share_of_gap", 100.0, "{:.1f}") for row in rows],
        "recovery": [_recovery(row) for row in rows],
        "forgetting": ["" if row["forgetting"] is None else f"{100.0 * row['forgetting']:+.2f}" for row in rows],
        "regret": [_figure(row, "regret", 1.0, "{:,.0f}") for row in rows],
        "freshness gain": [_figure(row, "freshness_gain", 100.0, "{:+.2f}") for row in rows],
        "CPU s / window": [f"{row['cpu_seconds_per_window']:.3f}" for row in rows],
        "adapted ahead by": [_figure(row, "adapted_ahead", 100.0, "{:+.2f}") for row in rows],
        "p (t)": [_p(row["p_t_holm"]) for row in rows],
        "p (ranks)": [_p(row["p_signed_rank_holm"]) for row in rows],
    }
    return {head: cells for head, cells in columns.items() if any(cells)}


def _figure(row: dict[str, Any], name: str, scale: float, form: str) -> str:
    """A figure and how far its interval reaches to each side."""
    value, low, high = (row[part] for part in (name, f"{name}_low", f"{name}_high"))
    if value is None:
        return ""
    return f"{form.format(scale * value)} ± {form.replace('+', '').format(scale * (high - low) / 2.0)}"


def _recovery(row: dict[str, Any]) -> str:
    """Windows on the mean of the seeds, and the least and most of them; "never" where something changed before."""
    seeds = row["recovery_windows_by_seed"]
    if not seeds:
        return ""
    least, most = (pick(float("inf") if one is None else one for one in seeds) for pick in (min, max))
    together, least, most = (_windows(one) for one in (row["recovery_windows"], least, most))
    return f"{together} ({least} to {most})"


def _windows(count: float | None) -> str:
    return "never" if count is None or count == float("inf") else f"{count:.0f}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
