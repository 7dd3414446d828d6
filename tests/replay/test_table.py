"""The table shows what metrics.json says, and the sentence below it names its blocks."""

from dynmm_core.metrics.ranking import METRICS
from replay.like import Likeness
from replay.results import Ratio
from replay.table import HEADERS, accounting_line, alarms_line, likeness_line, ratio_line, recall_line, run_line, table_rows


def test_a_row_shows_percent_and_mean_staleness() -> None:
    figures = {**dict.fromkeys(METRICS, 0.25), "ndcg@10": 0.11975, "staleness_ms": 1_800_000.4, "strata": {}}
    rows = table_rows({"models": {"static": figures}})

    shown = dict(zip(HEADERS, rows[0], strict=True))
    assert shown["model"] == "static"
    assert (shown["HR@5"], shown["NDCG@10"], shown["staleness"]) == ("25.00", "11.97", "30m")


def test_what_all_models_share_stands_in_one_line() -> None:
    assert run_line({"events": 30_000, "windows": 1_223, "seconds": 61.4}) == "30,000 events in 1,223 windows, 61 seconds"


def test_recall_stands_in_a_sentence_where_it_is_known() -> None:
    assert recall_line({"models": {"adapted": {"candidate_recall": 0.8125}}}) == (
        "adapted had 81.25 percent of the targets among its candidates"
    )
    assert recall_line({"models": {"adapted": {}, "static": {}}}) is None


def test_suspected_drift_stands_in_a_sentence_where_somebody_looked() -> None:
    alarm = {"slide_end_ms": 1_507_226_400_000, "detector": "adwin", "signal": "ndcg", "value": 0.18, "expected": 0.31}
    sentence = "by adwin on ndcg in the slide to 2017-10-05T18:00:00Z, 0.180 where 0.310 was expected"
    assert alarms_line({"drift_alarms": [alarm, {**alarm, "detector": "kswin"}]}) == (
        f"drift suspected: 2 alarms, the first {sentence}"
    )
    assert alarms_line({"drift_alarms": [alarm]}) == f"drift suspected: one alarm {sentence}"
    assert alarms_line({"drift_alarms": []}) == "no drift suspected"
    assert alarms_line({}) is None


def test_the_interval_names_its_blocks() -> None:
    line = ratio_line(Ratio("adapted", "static", "ndcg@10", 1.25, 1.125, 1.5, 6, 12, 72))

    assert line == ("adapted / static NDCG@10 = 1.250 (95 % interval 1.125 to 1.500, block bootstrap: 12 blocks of 6 windows)")


def test_a_single_block_claims_no_interval() -> None:
    line = ratio_line(Ratio("adapted", "static", "ndcg@10", 1.25, 1.25, 1.25, 8, 1, 8))

    assert line == "adapted / static NDCG@10 = 1.250 (no interval: 8 windows, fewer than 12, are too few)"


def test_the_accounting_reads_as_a_sum() -> None:
    line = accounting_line({"read": 1_010, "used": 1_000, "late": 4, "duplicate": 3, "dead": 2, "pending": 1})

    assert line == "1,010 events read = 1,000 used + 4 late + 3 duplicate + 2 dead + 1 pending"


def test_likeness_names_the_first_slide_that_differs() -> None:
    assert likeness_line(Likeness("runs/live", 1_200, 1_200, None)) == "1,200 of 1,200 versions equal those of runs/live"
    line = likeness_line(Likeness("live", 4, 3, 1_507_226_400_000))
    assert line == "3 of 4 versions equal those of live; the first that differs is that of the slide to 2017-10-05T18:00:00Z"
