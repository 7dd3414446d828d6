"""Rows of the drift benchmark from cells made by hand: every column, intervals, corrected tests, what was never measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.drift.figures import document_of
from benchmarks.drift.protocol import Equivalence, Protocol
from benchmarks.drift.report import print_document
from dynmm_core.metrics.significance import CONFIDENCE, ratio_of_sums

HOUR_MS = 3_600_000
LEVELS = {"static": 0.2, "item_knn": 0.29, "adapted_day_old": 0.28, "adapted": 0.3, "oracle": 0.4}
COLUMNS = {
    "preset", "model", "seeds", "events", "windows", "blocks", "block_windows", "ndcg@10", "ndcg@10_low", "ndcg@10_high",
    "ndcg@10_by_seed", "share_of_gap", "share_of_gap_low", "share_of_gap_high", "recovery_windows", "recovery_windows_by_seed",
    "forgetting",
    "regret", "regret_low", "regret_high", "freshness_gain", "freshness_gain_low", "freshness_gain_high",
    "cpu_seconds_per_window", "pass_cpu_seconds_per_window", "peak_rss_mb", "adapted_ahead", "adapted_ahead_low",
    "adapted_ahead_high", "p_t", "p_signed_rank", "p_t_holm", "p_signed_rank_holm",
}  # fmt: skip


def cell(preset: str, seed: int, windows: int = 24, levels: dict[str, float] = LEVELS) -> dict[str, Any]:
    """A finished cell: 100 events a window, each model at its level but for noise of its own, a drift in window 8 if any."""
    random = np.random.default_rng(seed)
    drift = {
        "id": "one", "kind": preset, "start_ms": 8 * HOUR_MS, "end_ms": None, "magnitude": 1.0, "levels": [[8 * HOUR_MS, 1.0]],
        "items_affected": 1, "users_affected": 1,
    }  # fmt: skip
    marks = {"truth": "t", "made_by": "simulate", "seed": seed, "cut_ms": 0, "end_ms": windows * HOUR_MS, "oracle": True}
    return {
        "asked": {"preset": preset, "seed": seed}, "bundle": f"b{seed}", "n": [100] * windows,
        "window_start_ms": [hour * HOUR_MS for hour in range(windows)],
        "ndcg@10": {name: (100 * (level + 0.01 * random.standard_normal(windows))).tolist() for name, level in levels.items()},
        "drift": {**marks, "drifts": [] if preset == "null" else [drift]},
        "update_cpu_seconds": {"item_knn": 12.0, "adapted": 24.0}, "rank_cpu_seconds": {"item_knn": 12.0},
        "costs": {"pretrain": {"cpu_seconds": 360.0}, "replay": {"cpu_seconds": 720.0, "peak_rss_mb": 900.0 + seed}},
    }  # fmt: skip


def protocol(**changes: Any) -> Protocol:
    facts: dict[str, Any] = {"name": "x", "cells": (), "equivalence": None, "fresher_is_better": ()}
    return Protocol(**{**facts, **changes})


def rows_of(document: dict[str, Any], preset: str) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in document["rows"] if row["preset"] == preset}


@pytest.fixture
def made() -> dict[str, Any]:
    cells = [cell(preset, seed) for preset in ("abrupt", "null") for seed in (1, 2)]
    return document_of(protocol(fresher_is_better=("abrupt",), equivalence=Equivalence(margin=0.02, events=10)), cells, ["y.s1"])


def test_every_row_has_every_column_and_the_document_is_json(made: dict[str, Any]) -> None:
    assert len(made["rows"]) == 2 * len(LEVELS)
    assert all(set(row) == COLUMNS for row in made["rows"])
    assert json.loads(json.dumps(made)) == made
    assert made["missing"] == ["y.s1"]


def test_figures_lie_in_their_intervals_and_near_what_they_were_drawn_from(made: dict[str, Any]) -> None:
    for name, row in rows_of(made, "abrupt").items():
        assert row["ndcg@10_low"] < row["ndcg@10"] < row["ndcg@10_high"]
        assert row["ndcg@10"] == pytest.approx(LEVELS[name], abs=0.01)
        assert row["share_of_gap"] == pytest.approx((LEVELS[name] - 0.2) / 0.2, abs=0.05)
        assert row["regret"] == pytest.approx((0.4 - LEVELS[name]) * 2_400, abs=20)
        assert (row["seeds"], row["events"], row["windows"], row["blocks"]) == ([1, 2], 4_800, 48, 8)
        assert np.mean(row["ndcg@10_by_seed"]) == pytest.approx(row["ndcg@10"])


def test_costs_are_those_of_a_model_and_of_the_pass(made: dict[str, Any]) -> None:
    rows = rows_of(made, "abrupt")
    assert rows["item_knn"]["cpu_seconds_per_window"] == 1.0
    assert rows["adapted"]["cpu_seconds_per_window"] == 1.0
    assert rows["static"]["cpu_seconds_per_window"] == 0.0
    assert rows["static"]["pass_cpu_seconds_per_window"] == 30.0
    assert rows["static"]["peak_rss_mb"] == 902.0
    assert made["cpu_hours"] == pytest.approx((4 * 720 + 2 * 360) / 3_600)


def test_the_freshness_gain_is_a_figure_of_the_adapted_model_alone(made: dict[str, Any]) -> None:
    rows = rows_of(made, "abrupt")
    assert rows["adapted"]["freshness_gain_low"] < rows["adapted"]["freshness_gain"] == pytest.approx(0.02, abs=0.005)
    assert all(rows[name]["freshness_gain"] is None for name in LEVELS if name != "adapted")


def test_rivals_are_compared_with_adapted_and_corrected_over_all_presets(made: dict[str, Any]) -> None:
    rows = rows_of(made, "abrupt")
    assert all(rows[name]["p_t"] is None for name in ("adapted", "adapted_day_old", "oracle"))
    cells = [cell("abrupt", seed) for seed in (1, 2)]
    ahead = np.concatenate([np.subtract(one["ndcg@10"]["adapted"], one["ndcg@10"]["item_knn"]) for one in cells])
    expected = ratio_of_sums(ahead.reshape(8, 6).sum(axis=1), np.full(8, 600.0))
    found = rows["item_knn"]
    assert found["adapted_ahead"] == pytest.approx(expected.value)
    assert (found["adapted_ahead_low"], found["adapted_ahead_high"]) == pytest.approx(expected.interval(CONFIDENCE))
    assert found["p_t"] == pytest.approx(expected.p_value())
    compared = [row for row in made["rows"] if row["p_t"] is not None]
    assert len(compared) == 4
    least = min(compared, key=lambda row: row["p_t"])
    assert least["p_t_holm"] == pytest.approx(4 * least["p_t"])
    assert min(row["p_signed_rank_holm"] for row in compared) == pytest.approx(4 * 2 / 2**8)


def test_recovery_is_told_where_something_drifts(made: dict[str, Any]) -> None:
    assert rows_of(made, "null")["adapted"]["recovery_windows_by_seed"] == []
    late = cell("abrupt", 1)
    late["ndcg@10"]["adapted"] = [30.0] * 8 + [10.0] * 4 + [30.0] * 12
    late["ndcg@10"]["oracle"] = [40.0] * 24
    row = rows_of(document_of(protocol(), [late], []), "abrupt")["adapted"]
    # The gap is as before from the fifth window on: the first mean of three that shows it ends with the seventh.
    assert row["recovery_windows"] == 7
    assert row["recovery_windows_by_seed"] == [7]


def test_checks_are_those_that_the_protocol_asks_for(made: dict[str, Any]) -> None:
    assert [(check["preset"], check["verdict"]) for check in made["checks"]] == [("null", "fails"), ("abrupt", "holds")]
    assert document_of(protocol(), [cell("abrupt", 1), cell("null", 1)], [])["checks"] == []


def test_a_run_that_lost_its_bill_is_shown_without_one(made: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    lost = cell("abrupt", 1)
    lost["costs"]["replay"] = None
    document = document_of(protocol(), [lost], [])
    assert rows_of(document, "abrupt")["static"]["pass_cpu_seconds_per_window"] is None
    print_document(document)
    assert "cost unknown" in capsys.readouterr().out


def test_the_tables_tell_every_model_and_what_holds(made: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    print_document(made)
    out = capsys.readouterr().out
    assert "abrupt: 4,800 events in 48 windows, seeds 1, 2" in out
    assert all(out.count(f"\n {name} ") == 2 or out.count(f"\n{name} ") == 2 for name in LEVELS)
    assert "null: fails: freshness gain +" in out
    assert "cells missing: y.s1" in out


def test_nothing_finished_is_told_as_that(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    print_document(document_of(protocol(fresher_is_better=("abrupt",)), [], ["abrupt.s1"]))
    assert capsys.readouterr().out.startswith("cells missing: abrupt.s1")
