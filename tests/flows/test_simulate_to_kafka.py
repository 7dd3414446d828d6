"""`dynmm simulate --to-kafka` end to end: summarize counts exactly what the simulator says that it must."""

import json
from pathlib import Path
from typing import Any

import pytest
from live_run import LiveRun
from local_broker import LocalBroker

from dynmm_core.cli import main

PARTITIONS = 3
STREAM = ["--events", "4000", "--users", "200", "--items", "100", "--online-hours", "6", "--part", "online", "--json"]
FAULTS = """
[faults]
late = 0.05
duplicate = 0.08
out_of_order = 0.1
malformed = 0.04
future = 0.02
oversized = 0.002
without_event_id = 0.02
roaming = 0.1

[faults.idle_after]
1 = 0.5
"""
COUNTED = ("read", "used", "late", "duplicate", "dead")


def simulate(run: LiveRun, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *STREAM, "--to-kafka", run.bootstrap, "--topic", run.settings.interactions, *more])
    assert not ended.value.code
    return dict(json.loads(capsys.readouterr().out))


@pytest.fixture
def run(broker: LocalBroker, tmp_path: Path) -> LiveRun:
    """Topics of a run that learns nothing."""
    run = LiveRun(broker.bootstrap, tmp_path, tmp_path / "no-bundle", run="simulated")
    run.make_topics(PARTITIONS)
    return run


@pytest.mark.parametrize("format", ["json", "arrow"])
def test_every_event_of_a_sound_stream_is_used(run: LiveRun, capsys: pytest.CaptureFixture[str], format: str) -> None:
    sent = simulate(run, capsys, "--format", format)
    assert sent["events_sent"] == 1_200
    assert sent["messages_sent"] == 1_200 if format == "json" else sent["messages_sent"] < 100
    counted = run.flow("summarize", "--drain")["accounting"]
    assert counted == {"read": 1_200, "used": 1_200, "late": 0, "duplicate": 0, "dead": 0, "pending": 0}


def test_faults_are_counted_as_the_simulator_says(run: LiveRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "faults.toml").write_text(FAULTS)
    rules = ["--slide", "1h", "--allowed-lateness", "1m", "--max-skew", "1h"]
    sent = simulate(run, capsys, "--faults", str(tmp_path / "faults.toml"), *rules)
    expected = sent["expected"]
    kinds = ("oversized", "late_duplicate", "out_of_order", "future", "malformed", "away", "without_event_id")
    assert all(expected[name] > 0 for name in (*COUNTED, *kinds))
    assert sent["messages_sent"] == expected["read"]
    counted = run.flow("summarize", "--drain")["accounting"]
    assert counted == {**{name: expected[name] for name in COUNTED}, "pending": 0}
    letters = run.read(run.settings.dead_letters)
    assert len(letters) == expected["dead"] == len({key for key, _ in letters})
    assert len(run.read(run.settings.late_events)) == expected["late"]
