"""Results are means over events; how windows were cut into slides and commits leaves no trace."""

import math
from typing import Any

import numpy as np
import pytest

from dynmm_core.adapt.strata import WindowRow
from dynmm_core.metrics.ranking import METRICS
from replay.attempts import seconds_over_attempts
from replay.results import (
    block_windows,
    collect,
    cpu_seconds,
    drift_alarms,
    headline_ratios,
    model_figures,
    ratio_interval,
    stratum_ratios,
    windows_table,
    with_model,
)

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


def test_a_model_that_did_not_come_from_the_stream_must_have_ranked_the_same_events() -> None:
    results = collect([commit(row(0, "static", 4, 2.0))], ["static"])
    sums = (1.0,) * len(METRICS)
    told = with_model(results, "oracle", [WindowRow(0, "oracle", "all", 4, sums, 0), WindowRow(0, "oracle", "warm", 3, sums, 0)])

    assert told.models == ("static", "oracle") and told.events == 4
    assert (told.windows[0, "oracle"].n, told.strata["oracle", "warm"].n) == (4, 3)
    assert with_model(results, "oracle", []) == results
    with pytest.raises(ValueError, match="ranked different events"):
        with_model(results, "oracle", [WindowRow(0, "oracle", "all", 3, sums, 0)])


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


@pytest.mark.parametrize(
    ("windows", "block"), [(0, 1), (1, 1), (11, 11), (12, 3), (19, 4), (23, 5), (24, 6), (239, 6), (240, 24)]
)
def test_short_logs_have_blocks_of_a_fourth_and_the_shortest_a_single_one(windows: int, block: int) -> None:
    assert block_windows(windows) == block


def test_twelve_windows_have_an_interval_and_eleven_have_none() -> None:
    low = {
        windows: found.low
        for windows in (11, 12)
        if (found := ratio_interval(collect(two_models(windows, 1.5), ["static", "adapted"]), "adapted", "static"))
    }
    assert low == {11: -math.inf, 12: pytest.approx(1.5)}


def test_the_interval_of_a_stratum_is_that_of_its_own_windows_in_order_and_needs_enough_of_them() -> None:
    drawn = 0.5 + np.random.default_rng(0).random((24, 2))
    commits = []
    for window in reversed(range(24)):
        strata = ("all", "warm", "new_item") if window < 11 else ("all", "warm")
        values = zip(("adapted", "static"), drawn[window].tolist(), strict=True)
        commits.append(commit(*(row(window, model, 1, value, stratum) for model, value in values for stratum in strata)))
    whole = ratio_interval(collect(commits, ["adapted", "static"]), "adapted", "static")

    assert whole is not None and whole.low < whole.ratio < whole.high
    assert stratum_ratios(commits, "adapted", "static") == {"warm": whole}


def test_the_headline_names_the_best_simple_model_first_and_the_frozen_base_last() -> None:
    means = {"static": 0.25, "window_popularity": 0.2, "item_knn": 0.4, "session_knn": 0.3, "switch": 0.5, "adapted": 0.5}
    commits = [commit(*(row(window, model, 1, mean) for model, mean in means.items())) for window in range(12)]
    found = headline_ratios(collect(commits, tuple(means)))

    assert [(ratio.numerator, ratio.denominator) for ratio in found] == [
        ("adapted", "item_knn"), ("adapted", "switch"), ("adapted", "static"),
    ]  # fmt: skip
    assert [ratio.ratio for ratio in found] == pytest.approx([1.25, 1.0, 2.0])


def test_cpu_seconds_of_updates_and_of_ranking_are_added_up_apart() -> None:
    first = {"update_cpu_seconds": {"adapted": 0.25}, "rank_cpu_seconds": {"adapted": 1.0, "static": 2.0}}
    second = {"update_cpu_seconds": {"adapted": 0.5}}

    assert cpu_seconds([first, second], ["static", "adapted"], "update") == {"static": 0.0, "adapted": 0.75}
    assert cpu_seconds([first, second], ["static", "adapted"], "rank") == {"static": 2.0, "adapted": 1.0}


def test_every_alarm_of_every_slide_is_told_in_order() -> None:
    alarms = [{"slide_end_ms": HOUR_MS, "detector": name} for name in ("adwin", "kswin", "page_hinkley")]
    assert drift_alarms([{"drift_alarms": alarms[:2]}, {}, {"drift_alarms": alarms[2:]}]) == alarms


def test_an_undefined_ratio_is_none() -> None:
    nothing = [commit(row(0, "static", 1, 0.0), row(0, "adapted", 1, 1.0))]

    assert ratio_interval(collect(nothing, ["static", "adapted"]), "adapted", "static") is None
    assert ratio_interval(collect([commit(row(0, "static", 1, 1.0))], ["static"]), "adapted", "static") is None


def test_a_killed_attempt_counts_until_its_last_commit() -> None:
    #  start 1,000 … commits 2,000 and 5,000 … killed … start 60,000 … now 62,500
    assert seconds_over_attempts([1_000, 60_000], [2_000, 5_000, 61_000], 62_500) == pytest.approx(4.0 + 2.5)
    assert seconds_over_attempts([1_000, 60_000], [], 62_500) == pytest.approx(2.5)


def test_every_killed_attempt_counts() -> None:
    commits_ms = [2_000, 5_000, 63_000, 121_000]
    assert seconds_over_attempts([1_000, 60_000, 120_000], commits_ms, 122_000) == pytest.approx(4.0 + 3.0 + 2.0)
