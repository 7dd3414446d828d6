"""The finished cells as tables: what each model reached, and what adaptation is worth beside the best simple one."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from dynmm_core.console import print_table

_SHARE_OF_NOTE = 0.05


def group_of(document: dict[str, Any]) -> tuple[str, str, str]:
    """Cells that differ by seeds alone belong together."""
    return document["data"], document["profile"], document["tag"]


def print_cells(documents: Sequence[dict[str, Any]], missing: Sequence[str]) -> None:
    """Print the tables of all finished cells, and say which are not."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for document in documents:
        groups[group_of(document)].append(document)
    for (data, profile, tag), members in groups.items():
        title = f"{data}, {profile}{', ' + tag if tag else ''}: NDCG@10 in percent, {_count(len(members))}"
        print_table(["model", "mean", "least", "most", "hr@10"], list(_model_rows(members)), title=title)
        for line in _ratio_lines(members):
            print(line)
        print()
    hours = sum(cpu_seconds(documents)) / 3600
    print(f"{len(documents)} cells finished, {len(missing)} missing{': ' + ', '.join(missing) if missing else ''}")
    resumed = [one["cell"] for one in documents if (one["costs"]["replay"] or {}).get("resumed")]
    print(f"CPU hours of the finished cells: {hours:.2f}{' and what was killed of ' + ', '.join(resumed) if resumed else ''}")


def cpu_seconds(documents: Iterable[dict[str, Any]]) -> list[float]:
    """CPU seconds of every replay, and of every bundle once."""
    bundles: dict[tuple[Any, ...], float] = {}
    runs = []
    for one in documents:
        costs = one["costs"]
        if costs["pretrain"]:
            bundles[one["data"], one["profile"], one["bundle_seed"], one["commands"][0]] = costs["pretrain"]["cpu_seconds"]
        if costs["replay"]:
            runs.append(costs["replay"]["cpu_seconds"])
    return [*bundles.values(), *runs]


def _model_rows(members: list[dict[str, Any]]) -> Iterable[list[str]]:
    names = [name for name in members[0]["models"] if all(name in one["models"] for one in members)]
    for name in names:
        values = [100 * one["models"][name]["ndcg@10"] for one in members]
        hits = sum(100 * one["models"][name]["hr@10"] for one in members) / len(members)
        yield [name, *(f"{value:.2f}" for value in (sum(values) / len(values), min(values), max(values), hits))]


def _ratio_lines(members: list[dict[str, Any]]) -> Iterable[str]:
    """A line per rival with the mean ratio and the lowest lower bound, then the strata that fall behind."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in members:
        for ratio in one["ratios"]:
            found[ratio["denominator"]].append(ratio)
    for rival, ratios in found.items():
        mean = sum(ratio["ratio"] for ratio in ratios) / len(ratios)
        low, high = min(ratio["low"] for ratio in ratios), max(ratio["high"] for ratio in ratios)
        yield f"adapted / {rival} = {mean:.3f} (95 % intervals within {low:.3f} to {high:.3f}, {_count(len(ratios))})"
    for one in members:
        for stratum, ratio in one["stratum_ratios"].items():
            share = one["models"]["adapted"]["strata"][stratum]["n"] / one["events"]
            if share >= _SHARE_OF_NOTE:
                behind = ", BEHIND" if ratio["high"] < 1.0 else ""
                interval = f"{ratio['ratio']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]{behind}"
                yield f"  {one['cell']} {stratum} ({share:.0%} of events): / {ratio['denominator']} {interval}"


def _count(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"
