"""From finished cells to the rows that are published: every figure with its interval, every comparison with its tests."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.drift.blocks import Blocks
from benchmarks.drift.checks import check_equivalence, check_fresher
from benchmarks.drift.names import ADAPTED, DAY_OLD, NULL, ORACLE
from benchmarks.drift.protocol import Protocol
from benchmarks.drift.series import series_of, since_drift, together
from dynmm_core.metrics.significance import CONFIDENCE, Estimate, holm, signed_rank_p_value
from replay.drift_figures import WindowSeries, drift_figures
from replay.truth import DriftMarks

Document = dict[str, Any]
Row = dict[str, Any]


def document_of(protocol: Protocol, documents: Sequence[Document], missing: Sequence[str]) -> Document:
    """Rows of all finished cells, by preset and model; what is to hold; which cells are missing."""
    presets: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        presets[document["asked"]["preset"]].append(document)
    series = {preset: [series_of(one) for one in members] for preset, members in presets.items()}
    blocks = {preset: Blocks.of(every) for preset, every in series.items()}
    rows = [row for preset, members in presets.items() for row in _rows(preset, members, series[preset], blocks[preset])]
    _correct(rows)
    checks = []
    if protocol.equivalence is not None and NULL in blocks:
        checks.append(check_equivalence(blocks[NULL], protocol.equivalence))
    checks += [check_fresher(preset, blocks[preset]) for preset in protocol.fresher_is_better if preset in blocks]
    return {
        "protocol": protocol.name, "rows": rows, "checks": [check.to_json() for check in checks], "missing": list(missing),
        "cpu_hours": round(_cpu_seconds(documents) / 3_600, 3),
    }  # fmt: skip


def _rows(preset: str, members: Sequence[Document], series: Sequence[WindowSeries], blocks: Blocks) -> Iterator[Row]:
    marks = [DriftMarks.model_validate(one["drift"]) for one in members]
    since = Blocks.of([since_drift(one, mark) for one, mark in zip(series, marks, strict=True)])
    windows = sum(len(one.events) for one in series)
    followed = _followed(series, marks)
    for model in blocks.ndcg:
        yield {
            "preset": preset, "model": model, "seeds": [one["asked"]["seed"] for one in members], "events": blocks.events,
            "windows": windows, "blocks": len(blocks.n), "block_windows": blocks.windows,
            **_bounds("ndcg@10", blocks.mean(model)),
            "ndcg@10_by_seed": [float(one.sums[model].sum() / one.events.sum()) for one in series],
            **_bounds("share_of_gap", since.share_of_gap(model)),
            **followed.get(model, {"recovery_windows": None, "recovery_windows_by_seed": [], "forgetting": None}),
            **_bounds("regret", blocks.difference(ORACLE, model).times(blocks.events / len(members))),
            **(_bounds("freshness_gain", blocks.freshness_gain()) if model == ADAPTED else _nothing("freshness_gain")),
            "cpu_seconds_per_window": _spent(members, model) / windows, **_pass_cost(members), **_comparison(blocks, model),
        }  # fmt: skip


def _followed(series: Sequence[WindowSeries], marks: Sequence[DriftMarks]) -> dict[str, Row]:
    """By model how it followed the first drift: on the mean of all seeds, and on each, where windows are enough to tell.

    Windows are None where the gap stays open up to the next change. Empty where nothing drifts.
    """
    if not marks[0].drifts:
        return {}
    seeds = [drift_figures(one, mark.drifts) for one, mark in zip(series, marks, strict=True)]
    found = {}
    for mean, *each in zip(drift_figures(together(series), marks[0].drifts), *seeds, strict=True):
        measured = [one.drifts[0] for one in each if one.drifts[0].measured]
        found[mean.model] = {
            "recovery_windows": mean.drifts[0].recovery_windows,
            "recovery_windows_by_seed": [one.recovery_windows for one in measured],
            "forgetting": mean.drifts[0].forgetting,
        }
    return found


def _comparison(blocks: Blocks, model: str) -> Row:
    """How far the adapted model is ahead of a rival, with both tests; nothing for itself, its older self and the oracle."""
    if model in (ADAPTED, DAY_OLD, ORACLE):
        return {**_nothing("adapted_ahead"), "p_t": None, "p_signed_rank": None}
    ahead = blocks.difference(ADAPTED, model)
    by_rank = signed_rank_p_value(blocks.block_differences(ADAPTED, model))
    return {**_bounds("adapted_ahead", ahead), "p_t": ahead.p_value(), "p_signed_rank": by_rank}


def _correct(rows: list[Row]) -> None:
    """Add Holm's correction over every comparison of the protocol, for each test."""
    compared = [row for row in rows if row["p_t"] is not None]
    for test in ("p_t", "p_signed_rank"):
        corrected = iter(holm([row[test] for row in compared]))
        for row in rows:
            row[f"{test}_holm"] = None if row[test] is None else next(corrected)


def _bounds(name: str, estimate: Estimate) -> Row:
    low, high = estimate.interval(CONFIDENCE)
    return {name: estimate.value, f"{name}_low": low, f"{name}_high": high}


def _nothing(name: str) -> Row:
    return {name: None, f"{name}_low": None, f"{name}_high": None}


def _pass_cost(members: Sequence[Document]) -> Row:
    """What the whole pass cost, over the runs that know it: one that was killed between its end and its bill does not."""
    known = [one for one in members if one["costs"]["replay"]]
    if not known:
        return {"pass_cpu_seconds_per_window": None, "peak_rss_mb": None}
    spent, windows = sum(one["costs"]["replay"]["cpu_seconds"] for one in known), sum(len(one["n"]) for one in known)
    return {
        "pass_cpu_seconds_per_window": spent / windows,
        "peak_rss_mb": max(one["costs"]["replay"]["peak_rss_mb"] for one in known),
    }


def _spent(members: Sequence[Document], model: str) -> float:
    return float(sum(one[kind].get(model, 0.0) for one in members for kind in ("update_cpu_seconds", "rank_cpu_seconds")))


def _cpu_seconds(documents: Sequence[Document]) -> float:
    """CPU seconds of every replay, and of every bundle once."""
    bundles = {one["bundle"]: one["costs"]["pretrain"] for one in documents}
    return float(sum(cost["cpu_seconds"] for cost in (*bundles.values(), *(one["costs"]["replay"] for one in documents)) if cost))
