"""Results are means over events; how windows were cut into slides and commits leaves no trace."""

import math
from typing import Any

import pytest

from dynmm_core.metrics.ranking import METRICS
from replay.attempts import seconds_over_attempts
from replay.results import collect, model_figures, ratio_interval, windows_table

HOUR_MS = 3_600_000


def row(window: int, model: str, n: int, value: float, stratum: str = "all", staleness_ms: int = 0) -> list[Any]:
    return [window * HOUR_MS, model, stratum, n, *[value] * len(METRICS), staleness_ms]


def commit(*rows: list[Any]) -> dict[str, Any]:
    return {"windows": list(rows), "update_rejected": False}


def test_a_window_cut_over_slides_is_added_up() -> None:
    first = commit(row(0, "static", 2, 1.0, staleness_ms=10))
    second = commit(row(0, "static", 3, 0.5, staleness_ms=7), row(1, "static", 5, 1.0))
    results = collect([first, second], ["static"])

    table = windows_table(results).to_pylist()
    assert [(line["window_start_ms"], line["n"], line["ndcg@10"], line["staleness_ms"]) for line in table] == [
        (0, 5, 1.5, 17),
        (HOUR_MS, 5, 1.0, 0),
    ]
    assert results.events == 10
    figures = model_figures(results)["static"]
    assert figures["hr@5"] == pytest.approx(2.5 / 10)
    assert figures["staleness_ms"] == pytest.approx(1.7)


def test_the_order_of_slides_inside_a_window_leaves_no_trace_in_the_sum() -> None:
    parts = [0.1, 1e16, 0.3, -1e16]
    forward = collect([commit(row(0, "static", 1, part)) for part in parts], ["static"])
    backward = collect([commit(row(0, "static", 1, part)) for part in reversed(parts)], ["static"])

    assert forward == backward
    assert forward.windows[0, "static"].metrics[0] == math.fsum(parts)


def test_strata_are_means_over_their_own_events_and_named_even_when_empty() -> None:
    results = collect([commit(row(0, "static", 4, 2.0), row(0, "static", 2, 0.5, "new_item"))], ["static"])

    strata = model_figures(results)["static"]["strata"]
    assert strata["new_item"]["n"] == 2
    assert strata["new_item"]["ndcg@10"] == pytest.approx(0.25)
    assert strata["warm"] == {"n": 0, **dict.fromkeys(METRICS)}
    assert list(strata) == ["warm", "cold_item", "cold_user", "new_item", "new_user", "session_first", "session_later"]


def test_candidate_recall_is_hits_over_all_ranked_events_of_the_adapted_model() -> None:
    rows = [row(hour, model, 4, 2.0) for hour in range(2) for model in ("static", "adapted")]
    commits = [{**commit(*rows[:2]), "candidates_hit": 3}, commit(), {**commit(*rows[2:]), "candidates_hit": 2}]
    figures = model_figures(collect(commits, ["static", "adapted"]))

    assert figures["adapted"]["candidate_recall"] == 5 / 8
    assert "candidate_recall" not in figures["static"]


def test_versions_that_tell_of_no_candidates_claim_no_recall() -> None:
    figures = model_figures(collect([commit(row(0, "adapted", 4, 2.0))], ["adapted"]))
    assert "candidate_recall" not in figures["adapted"]


def test_models_that_ranked_different_events_are_a_fault() -> None:
    with pytest.raises(ValueError, match="ranked different events"):
        collect([commit(row(0, "static", 4, 2.0), row(0, "adapted", 3, 2.0))], ["static", "adapted"])
    with pytest.raises(ValueError, match="ranked different events"):
        collect([commit(row(0, "static", 4, 2.0))], ["static", "adapted"])


def test_windows_table_has_one_row_per_window_and_model_in_order() -> None:
    rows = [row(window, model, 1, 0.0) for window in (2, 0) for model in ("adapted", "static")]
    table = windows_table(collect([commit(*rows)], ["static", "adapted"])).to_pylist()

    assert [(line["window_start_ms"] // HOUR_MS, line["model"]) for line in table] == [
        (0, "static"), (0, "adapted"), (2, "static"), (2, "adapted"),
    ]  # fmt: skip


def two_models(windows: int, factor: float) -> list[dict[str, Any]]:
    return [
        commit(row(window, "static", 1, 0.25 + window % 3 / 8), row(window, "adapted", 1, factor * (0.25 + window % 3 / 8)))
        for window in range(windows)
    ]


@pytest.mark.parametrize(("windows", "block", "blocks"), [(72, 6, 12), (239, 6, 40), (240, 24, 10), (250, 24, 11)])
def test_the_interval_takes_blocks_of_a_day_where_the_log_allows(windows: int, block: int, blocks: int) -> None:
    found = ratio_interval(collect(two_models(windows, 1.5), ["static", "adapted"]), "adapted", "static")

    assert found is not None
    assert (found.block, found.blocks, found.windows) == (block, blocks, windows)
    assert found.low == pytest.approx(1.5) == found.high == found.ratio


def test_an_undefined_ratio_is_none() -> None:
    nothing = [commit(row(0, "static", 1, 0.0), row(0, "adapted", 1, 1.0))]

    assert ratio_interval(collect(nothing, ["static", "adapted"]), "adapted", "static") is None
    assert ratio_interval(collect([commit(row(0, "static", 1, 1.0))], ["static"]), "adapted", "static") is None


def test_a_killed_attempt_counts_until_its_last_commit() -> None:
    #  start 1,000 … commits 2,000 and 5,000 … killed … start 60,000 … now 62,500
    assert seconds_over_attempts([1_000, 60_000], [2_000, 5_000, 61_000], 62_500) == pytest.approx(4.0 + 2.5)
    assert seconds_over_attempts([1_000, 60_000], [], 62_500) == pytest.approx(2.5)
