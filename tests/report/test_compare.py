"""Two runs side by side: what is refused, what a difference is, and what its test says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dynmm_core.errors import UserError
from replay.html.compare import compare_headline, compare_page
from replay.html.pairing import check_pair, differences
from replay.html.report import report_page
from tests.report.made_run import HOUR_MS, Plan, made_run

PLAN = Plan(windows=72)


def test_runs_of_other_events_are_refused_in_one_line() -> None:
    run = made_run(PLAN, Path("a"))
    with pytest.raises(UserError, match=r"a and b replay different logs \(made made.* and other other.*\)"):
        check_pair(run, made_run(replace(PLAN, dataset="other"), Path("b")))
    with pytest.raises(UserError, match="no model in common"):
        check_pair(run, made_run(replace(PLAN, models=(("item_knn", 0.1),)), Path("b")))
    with pytest.raises(UserError, match="rank different events"):
        check_pair(run, made_run(replace(PLAN, events=42), Path("b")))
    shorter = made_run(PLAN, Path("b"))
    config = shorter.record.config.model_copy(update={"split_hash": "d" * 64})
    with pytest.raises(UserError, match="rank different parts of made"):
        check_pair(run, replace(shorter, record=shorter.record.model_copy(update={"config": config})))


def test_a_model_that_got_better_is_ahead_and_the_others_are_the_same() -> None:
    a, b = made_run(PLAN), made_run(replace(PLAN, better=0.06))
    found = {one.model: one for one in differences(a.windows, b.windows, "ndcg@10")}

    adapted = found.pop("adapted")
    means = [run.metrics["models"]["adapted"]["ndcg@10"] for run in (a, b)]
    assert (adapted.a, adapted.b, adapted.difference) == pytest.approx((*means, means[1] - means[0]))
    assert adapted.low < adapted.difference < adapted.high and adapted.low > 0
    assert (adapted.block, adapted.blocks) == (6, 12)
    assert adapted.p < 0.001 and adapted.p_holm == adapted.p, "only what differs at all is corrected for"
    assert all(one.same and one.difference == 0 and np.isnan(one.p) for one in found.values())
    assert "adapted of B is ahead of that of A: +" in compare_headline(adapted)


def test_two_seeds_of_the_same_models_cannot_be_told_apart() -> None:
    found = differences(made_run(PLAN).windows, made_run(replace(PLAN, seed=1)).windows, "ndcg@10")

    assert all(one.p_holm >= one.p for one in found) and min(one.p_holm for one in found) > 0.05
    assert "cannot be told from" in compare_headline(found[0])


def test_an_interval_that_leaves_0_out_is_not_enough_where_many_were_compared() -> None:
    one = next(iter(differences(made_run(PLAN).windows, made_run(replace(PLAN, better=0.06)).windows, "ndcg@10")))
    assert "cannot be told from" in compare_headline(replace(one, p_holm=0.2))


def test_too_few_windows_claim_nothing() -> None:
    plan = replace(PLAN, windows=5)
    page = compare_page(made_run(plan), made_run(replace(plan, better=0.1)))
    assert "the windows are too few for an interval" in page.headline


def test_the_same_run_twice_is_the_same() -> None:
    page = compare_page(made_run(PLAN), made_run(PLAN))
    sections = {section.id: section for section in page.sections}

    assert page.headline == "adapted is the same in both runs, in every window."
    assert sections["sides"].absent is not None and not sections["settings"].tables


def test_a_stratum_of_other_events_is_left_out_by_name() -> None:
    a, b = made_run(PLAN), made_run(replace(PLAN, better=0.06, slide_ms=6 * HOUR_MS))
    cells = b.strata["cold_item"]
    b = replace(b, strata={**b.strata, "cold_item": replace(cells, n=cells.n - 1)})
    sections = {section.id: section for section in compare_page(a, b).sections}

    assert "cold_item" not in {row[0].text for row in sections["strata"].tables[0].rows}
    assert sections["strata"].notes == ("Left out, because other events belong to them in A than in B: cold_item.",)
    assert [cell.text for cell in sections["settings"].tables[0].rows[0]] == ["slide_ms", "3600000", "21600000"]


def test_the_summed_up_difference_ends_at_the_difference() -> None:
    a, b = made_run(PLAN), made_run(replace(PLAN, better=0.06))
    chart = {section.id: section for section in compare_page(a, b).sections}["over-time"].charts[0]
    line = next(trace for trace in chart.figures["summed up"].data if trace.meta["model"] == "adapted")

    adapted = next(one for one in differences(a.windows, b.windows, "ndcg@10") if one.model == "adapted")
    assert line.y[-1] == pytest.approx(100 * adapted.difference, abs=1e-4)


def test_a_single_report_knows_its_own_ratio() -> None:
    run = made_run(PLAN)
    page = report_page(run)
    assert (
        f"{run.ratios[0].ratio:.3f}" in page.headline
        and page.facts[0].value == f"{100 * run.metrics['models']['adapted']['ndcg@10']:.2f} %"
    )
