"""Faults on a stream of some size: every kind occurs, in the numbers asked for, and one seed gives one log."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from dynmm_core.cli import main
from dynmm_core.events.letters import Origin
from dynmm_core.events.messages import decode_messages
from simulators.breaking import BREAKS, OVERSIZED, break_message
from simulators.faults import FaultRates, inject
from simulators.faulty_log import FaultyLog
from simulators.output import as_table
from simulators.placement import Outcome
from simulators.settings import StreamSettings
from simulators.stream import draw_stream
from simulators.world import make_world

MINUTE_MS = 60_000
RATES = FaultRates(
    late=0.02, out_of_order=0.1, malformed=0.02, future=0.01, oversized=0.0005, without_event_id=0.02, duplicate=0.05,
    roaming=0.1, idle_after={2: 0.5, 3: 0.0},
)  # fmt: skip


@pytest.fixture(scope="module")
def stream() -> pa.Table:
    return as_table(draw_stream(make_world(StreamSettings(events=20_000, users=1_200, items=600, online_hours=24))))


def faulty(stream: pa.Table, rates: FaultRates = RATES, seed: int = 0) -> FaultyLog:
    return inject(stream, rates, seed, 5, 15 * MINUTE_MS, MINUTE_MS, 60 * MINUTE_MS)


@pytest.fixture(scope="module")
def log(stream: pa.Table) -> FaultyLog:
    return faulty(stream)


def test_rates_are_met_and_the_account_closes(log: FaultyLog) -> None:
    expected = log.expected
    assert expected.read == 21_000 and expected.used + expected.late + expected.duplicate + expected.dead == 21_000
    assert (expected.malformed, expected.future, expected.oversized, expected.without_event_id) == (400, 200, 10, 400)
    assert expected.dead == 610
    # Some copies are late, too, and some of the last events have no room to be.
    assert 390 <= expected.late <= 900
    assert 0.8 * 2_000 <= expected.out_of_order <= 2_000
    assert expected.late_duplicate >= 50 and expected.duplicate - expected.late_duplicate >= 300
    assert expected.away >= 2_000


def test_silent_partitions_send_as_long_as_they_were_told(log: FaultyLog, stream: pa.Table) -> None:
    half_ms = stream["event_time_ms"][10_000].as_py()
    assert not log.messages[3]
    assert len(log.messages[2]) > 0 and log.messages[2][-1].timestamp_ms < half_ms
    last_ms = stream["event_time_ms"][-1].as_py()
    assert any(messages[-1].timestamp_ms == last_ms for messages in log.messages if messages)


def test_one_seed_gives_one_log_and_another_seed_another(log: FaultyLog, stream: pa.Table) -> None:
    assert faulty(stream).messages == log.messages
    assert faulty(stream, seed=1).messages != log.messages


def test_without_rates_every_event_is_sent_once_in_order(stream: pa.Table) -> None:
    log = faulty(stream, FaultRates())
    assert log.expected.used == log.expected.read == stream.num_rows and log.expected.away == 0
    times = [[json.loads(message.value)["event_time_ms"] for message in messages] for messages in log.messages]
    assert all(times) and all(one == sorted(one) for one in times)
    assert log.used("any").sort_by("event_id").equals(stream.select(log.used("any").column_names).sort_by("event_id"))


def test_a_late_event_is_late_by_its_partition_alone_and_by_a_single_millisecond_too(log: FaultyLog) -> None:
    """The walk of the property tests, at a size at which the bounds themselves are met."""
    slide_ms, lateness_ms = 15 * MINUTE_MS, MINUTE_MS
    margins = []
    for messages, outcomes in zip(log.messages, log.outcomes, strict=True):
        newest = 0
        for message, outcome in zip(messages, outcomes, strict=True):
            if outcome == Outcome.DEAD:
                continue
            time = json.loads(message.value)["event_time_ms"]
            late_by_ms = newest - lateness_ms - (time // slide_ms + 1) * slide_ms
            assert (late_by_ms >= 0) == (outcome in (Outcome.LATE, Outcome.LATE_DUPLICATE))
            margins.append(late_by_ms)
            newest = max(newest, time)
    near = np.abs(np.array(margins)) < MINUTE_MS
    assert near.sum() > 500  # close calls on both sides of the bound
    assert (np.array(margins)[near] >= 0).any()


@pytest.mark.parametrize("how", BREAKS)
def test_every_broken_message_is_one_dead_letter(how: str) -> None:
    event = {"event_time_ms": 1_700_000_000_000, "event_id": "e1", "user_id": "u1", "item_id": "i1"}
    messages = [break_message(how, event, draw) for draw in range(200)]
    decoded = decode_messages(messages, Origin("log", 0, range(len(messages))))
    assert decoded.events.num_rows == 0
    assert [letter.offset for letter in decoded.bad] == list(range(200))


def test_an_oversized_message_is_longer_than_a_mebibyte_and_dead(log: FaultyLog) -> None:
    assert len(OVERSIZED) > 1_048_576
    assert sum(message.value is OVERSIZED for messages in log.messages for message in messages) == 10
    assert len(decode_messages([OVERSIZED], Origin("log", 0, [0])).bad) == 1


def test_rates_that_cannot_be_are_refused() -> None:
    for wrong in ({"late": 1.5}, {"late": float("nan")}, {"latee": 0.1}, {"late": 0.6, "future": 0.5}, {"idle_after": {0: 2}}):
        with pytest.raises(ValidationError):
            FaultRates.model_validate(wrong)


@pytest.mark.parametrize(
    ("rates", "changes", "message"),
    [
        ({"idle_after": {4: 0.5}}, {}, "4 is no partition"),
        ({"idle_after": {0: 0.5, 1: 0.0}}, {}, "all 2 partitions fall silent"),
        ({"future": 0.5}, {"max_skew_ms": None}, "future"),
        ({}, {"partitions": 0}, "partitions: 0"),
        ({}, {"events": pa.table({"event_time_ms": [2, 1], "event_id": ["a", "b"], "user_id": ["u"] * 2, "item_id": ["i"] * 2})},
         "not in the order"),
        ({}, {"events": pa.table({"event_time_ms": [1, 2], "event_id": ["a"] * 2, "user_id": ["u"] * 2, "item_id": ["i"] * 2})},
         "two have the same"),
        ({}, {"events": pa.table({"event_time_ms": [1]})}, "event_id is missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_injected_is_refused(rates: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    events = pa.table({"event_time_ms": [1, 2], "event_id": ["a", "b"], "user_id": ["u"] * 2, "item_id": ["i"] * 2})
    arguments = {
        "events": events, "seed": 0, "partitions": 2, "slide_ms": 300_000, "allowed_lateness_ms": 0, "max_skew_ms": 1, **changes
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        inject(rates=FaultRates.model_validate(rates), **arguments)


def simulate(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["simulate", "--events", "2000", "--users", "100", "--items", "60", *arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_a_faulty_log_is_written_beside_the_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f.toml").write_text("[faults]\nlate = 0.05\nmalformed = 0.05\nduplicate = 0.1\nidle_after = { 1 = 0.5 }\n")
    assert simulate("--out", str(tmp_path / "out"), "--faults", str(tmp_path / "f.toml"), "--partitions", "3", "--json") == 0
    expected = json.loads(capsys.readouterr().out)["expected"]
    folder = tmp_path / "out" / "faulty"
    assert json.loads((folder / "expected.json").read_text()) == expected
    messages = pq.read_table(folder / "messages.parquet").to_pydict()
    assert len(messages["value"]) == expected["read"] == 2_200 and set(messages["partition"]) == {0, 1, 2}
    assert messages["outcome"].count("dead") == expected["malformed"] == 100
    assert pq.read_metadata(folder / "used.parquet").num_rows == expected["used"] == messages["outcome"].count("used")
    assert pq.read_metadata(tmp_path / "out" / "interactions.parquet").num_rows == 2_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[faults]\nlate = 2.0\n", "faults.late"),
        ("[faults]\nlaet = 0.1\n", "faults.laet"),
        ("[faults]\nlate = 0.9\nfuture = 0.9\n", "add up to 1.8"),
        ("[faults]\nidle_after = { 9 = 0.5 }\n", "9 is no partition"),
        ("[fault]\nlate = 0.1\n", "must be one table"),
        ("late = \n", "--faults"),
        (None, "No such file"),
    ],
)
def test_a_wrong_file_of_faults_is_one_clear_line(
    text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "f.toml").write_text(text)
    assert simulate("--out", str(tmp_path / "out"), "--faults", str(tmp_path / "f.toml")) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--out: missing"),
        (("--to-kafka", "localhost:1", "--speed", "fast"), "--speed: 'fast'"),
        (("--to-kafka", "localhost:1", "--speed", "-1"), "--speed: '-1'"),
        (("--to-kafka", "localhost:1", "--property", "linger.ms"), "--property: 'linger.ms' is not key=value"),
        (("--to-kafka", "localhost:1", "--property", "linger.milliseconds=1"), "--property"),
        (("--to-kafka", "localhost:1", "--property", "sasl.password=${NOT_THERE_AT_ALL}"), "no NOT_THERE_AT_ALL"),
    ],
)
def test_a_wrong_option_of_sending_is_one_clear_line(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(*arguments) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
