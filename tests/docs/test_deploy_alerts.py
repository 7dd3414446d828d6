"""Alerts, dashboard and guide speak of metrics that exist, and of each other."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynmm_core.metrics.drift.detectors import DETECTORS
from dynmm_core.metrics.drift.facts import SIGNALS
from flows.observe.collectors import OUTCOMES
from flows.observe.health import State
from flows.observe.metrics import FlowMetrics

ROOT = Path(__file__).parents[2]
NAMES = FlowMetrics("live", "adapt").sample_names()
METRIC = re.compile(r"\bdynmm_[a-z_]+\b(?!\s*[=!]~?)")  # a name, and not a label before its value
TARGET_LABELS = {"run", "flow", "process", "job", "instance"}
OWN_LABELS = {
    "dynmm_events_total": {"outcome": set(OUTCOMES)},
    "dynmm_consumer_lag_messages": {"topic": None, "partition": None},
    "dynmm_watermark_delay_seconds": {"partition": None},
    "dynmm_context_known_ratio": {"column": None},
    "dynmm_drift_signal": {"signal": set(SIGNALS)},
    "dynmm_drift_alarms_total": {"detector": set(DETECTORS), "signal": set(SIGNALS)},
    "dynmm_state_bytes": {"part": None},
    "dynmm_disk_free_bytes": {"part": None},
    "dynmm_disk_size_bytes": {"part": None},
    "dynmm_broker_errors_total": {"kind": None},
    "dynmm_health_state": {"dynmm_health_state": {state.value for state in State}},
}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/flows.json").read_text())
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """(where, expression) of every query that the deployment makes."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in dashboard()["templating"]["list"]:
        yield variable["name"], variable["query"]["query"]


def unknown_parts(expression: str) -> list[str]:
    """Metrics that do not exist, and matchers on labels or values that they do not have."""
    grouped = re.sub(r"\b(by|on|group_left|without|ignoring)\s*\([^)]*\)", "", expression)
    unknown = [name for name in METRIC.findall(re.sub(r"\{[^}]*\}", "", grouped)) if name not in NAMES]
    for name, matchers in re.findall(r"(dynmm_[a-z_]+)\{([^}]*)\}", expression):
        for label, wanted in re.findall(r'(\w+)\s*[=!]~?\s*"([^"]*)"', matchers):
            values = OWN_LABELS.get(name, {})
            if label not in values and label not in TARGET_LABELS:
                unknown.append(f"{name}{{{label}}}")
            elif values.get(label) is not None and wanted not in (values[label] or ()):
                unknown.append(f"{name}{{{label}={wanted}}}")
    return unknown


@pytest.mark.parametrize(("where", "expression"), [*expressions()])
def test_every_query_is_of_metrics_that_exist(where: str, expression: str) -> None:
    assert unknown_parts(expression) == [], where
    assert re.search(r"\b(dynmm_[a-z_]+|up)\b", expression)


@pytest.mark.parametrize(
    "expression",
    [
        "rate(dynmm_event_total[5m])",
        "dynmm_slide_commit_seconds > 3",
        'dynmm_events_total{outcome="lost"}',
        'dynmm_store_version{topic="x"}',
        'dynmm_health_state{dynmm_health_state="broken"} == 1',
    ],
)
def test_the_check_of_queries_finds_a_wrong_one(expression: str) -> None:
    assert unknown_parts(expression)


def test_a_total_that_may_step_back_is_never_asked_for_its_increase() -> None:
    """A step back to the last kept state would be taken for a restart from zero, and the whole count for new."""
    for where, expression in expressions():
        assert not re.search(r"(increase|rate|irate|resets)\(dynmm_events_total", expression), where


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for _, expression in expressions() for name in METRIC.findall(expression)}
    histogram = {f"dynmm_slide_commit_seconds_{part}" for part in ("count", "sum")}
    assert NAMES - shown == histogram


def test_alerts_are_named_once_and_lead_to_the_runbook() -> None:
    guide = (ROOT / "docs/deploy.md").read_text()
    headings = [line.lstrip("# ") for line in guide.splitlines() if re.match(r"#+ Dynmm", line)]
    assert headings == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/deploy.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "warn") and rule["annotations"]["summary"]


def test_every_alert_has_a_test_of_its_rule() -> None:
    tests = (ROOT / "deploy/alerts.test.yml").read_text()
    assert [rule["alert"] for rule in rules() if rule["alert"] not in tests] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: the rules are not evaluated")
def test_the_rules_fire_when_they_should() -> None:
    done = subprocess.run(["promtool", "test", "rules", str(ROOT / "deploy/alerts.test.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not taken & cells and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
