"""Rows and table of the benchmark of drift detection."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.detection.matching import ANY, Judged
from dynmm_core.console import print_table
from dynmm_core.metrics.drift.detectors import DETECTORS
from dynmm_core.metrics.drift.facts import SIGNALS
from dynmm_core.times import HOUR_MS

HEADERS = ("stream", "signal", *DETECTORS, ANY)


def rows_of(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return one row per stream's name, signal and detector, over all seeds; signals that nobody suspected are left out."""
    rows = []
    for name in dict.fromkeys(one.name for one in judged):
        streams = [one for one in judged if one.name == name]
        suspected = {alarm.signal for one in streams for alarm in one.alarms}
        for signal in (*(one for one in SIGNALS if one in suspected), ANY):
            rows += [_row(streams, signal, detector) for detector in (*DETECTORS, ANY)]
    return rows


def _row(streams: Sequence[Judged], signal: str, detector: str) -> dict[str, Any]:
    scores = [one.score(signal, detector) for one in streams]
    delays = [delay for score in scores for delay in score.delays_ms]
    return {
        "stream": streams[0].name, "signal": signal, "detector": detector, "seeds": len(streams),
        "drifts": len(delays), "delays_hours": [None if delay is None else round(delay / HOUR_MS, 3) for delay in delays],
        "false_alarms": sum(score.false_alarms for score in scores), "slides": sum(one.slides for one in streams),
    }  # fmt: skip


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print drifts found, their median delay, and false alarms, by detector."""
    width = len(DETECTORS) + 1
    lines = [rows[start : start + width] for start in range(0, len(rows), width)]
    table = [(line[0]["stream"], line[0]["signal"], *(_cell(row) for row in line)) for line in lines]
    print_table(HEADERS, table, title="drifts found, median delay of these, false alarms")
    print(f"false alarms are of {rows[0]['seeds']} seeds together; slides of an hour")


def _cell(row: dict[str, Any]) -> str:
    found = [delay for delay in row["delays_hours"] if delay is not None]
    false = f"{row['false_alarms']} false"
    if not row["drifts"]:
        return false
    delay = f" after {median(found):.0f} h" if found else ""
    return f"{len(found)} of {row['drifts']}{delay}, {false}"
