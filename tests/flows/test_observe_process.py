"""What a process makes of the words of its steps: lag, health, and totals that add up over processes."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynmm_core.windows.progress import PartitionTally, ShardProgress
from flows.accounts import ShardTotals
from flows.kafka import process as module
from flows.kafka.process import LiveProcess
from flows.observe.health import Health, State
from flows.observe.metrics import FlowMetrics

TOPIC = "interactions"


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def process(clock: Clock) -> LiveProcess:
    return LiveProcess(0, None, FlowMetrics("live", "summarize"), Health(60, monotonic=clock.monotonic))


def shown(process: LiveProcess, name: str) -> dict[tuple[str, ...], float]:
    process.metrics.refresh()
    samples = [sample for family in process.metrics.registry.collect() for sample in family.samples]
    return {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == name}


def test_a_partition_with_lag_that_is_not_read_stalls_and_an_idle_one_does_not(process: LiveProcess, clock: Clock) -> None:
    for _ in range(100):
        clock.now += 1
        process.note_reading(TOPIC, 0, 40, lambda ask: 40)
        process.note_reading(TOPIC, 1, 7, lambda ask: 9, resting=True)
    assert process.health.report().ok
    assert shown(process, "dynmm_consumer_lag_messages") == {(TOPIC, "0"): 0, (TOPIC, "1"): 2}
    for _ in range(62):
        clock.now += 1
        process.note_reading(TOPIC, 0, 40, lambda ask: 52)
    report = process.health.report()
    assert not report.ok and report.reason == "interactions/0: 12 behind, no progress for 61 s, more than 60 s"
    clock.now += 1
    process.note_reading(TOPIC, 0, 41, lambda ask: 52)
    assert process.health.report().ok and shown(process, "dynmm_consumer_lag_messages")[TOPIC, "0"] == 11


def test_a_broker_that_is_away_is_away_until_it_answers_itself(process: LiveProcess, clock: Clock) -> None:
    process.note_reading(TOPIC, 0, 1, lambda ask: 10)
    process.note_broker_error("_ALL_BROKERS_DOWN")
    asked: list[bool] = []

    def silent(ask: bool) -> int:
        asked.append(ask)
        return -1

    for step in range(30):
        clock.now += 1
        process.note_reading(TOPIC, 0, 2 + step, silent)  # fetched before the broker went
    assert process.health.report().state is State.WAITING_FOR_BROKER
    assert all(asked) and len(asked) == 15
    clock.now += 2
    process.note_reading(TOPIC, 0, 40, lambda ask: 50 if ask else -1)
    assert process.health.report().state is State.RUNNING
    assert shown(process, "dynmm_broker_errors_total") == {("_ALL_BROKERS_DOWN",): 1}


def test_an_epoch_counts_once_however_many_partitions_see_it(process: LiveProcess) -> None:
    for _ in range(3):
        for partition in range(4):
            process.note_epoch(f"{TOPIC}/{partition}")
    assert shown(process, "dynmm_epochs_total") == {(): 3}


def test_a_scrape_in_the_middle_of_a_step_keeps_the_last_totals(process: LiveProcess) -> None:
    reading = SimpleNamespace(tally=PartitionTally(0, read=5, dead=5))
    process.ledger.add_reader(0, reading)
    assert shown(process, "dynmm_events_total")["read",] == 5
    inside, leave = threading.Event(), threading.Event()

    def step(_: None) -> list[None]:
        reading.tally = PartitionTally(0, read=9, dead=5)  # four are not counted as anything yet
        inside.set()
        leave.wait(30)
        reading.tally = PartitionTally(0, read=9, dead=9)
        return []

    thread = threading.Thread(target=process.guarded(step), args=(None,))
    thread.start()
    inside.wait(30)
    assert shown(process, "dynmm_events_total")["read",] == 5
    leave.set()
    thread.join()
    assert shown(process, "dynmm_events_total")["dead",] == 9


counts = st.integers(0, 20)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(counts, counts)),
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 2), counts, counts, counts)),
)
def test_totals_of_all_processes_add_up_wherever_buckets_wake(
    before: dict[str, tuple[int, int]], woken: dict[str, tuple[int, int, int, int]]
) -> None:  # fmt: skip
    """Each process tells its part; the sum is that of every bucket's newest totals."""
    resumed = {name: ShardTotals(used=used, duplicate=duplicate) for name, (used, duplicate) in before.items()}
    processes = [LiveProcess(n, None, FlowMetrics("live", "summarize", n), Health(), resumed=resumed) for n in range(3)]
    for number, process in enumerate(processes):
        process.ledger.add_reader(number, SimpleNamespace(tally=PartitionTally(number, read=100)))
    for name, (home, used, duplicate, pending) in woken.items():
        known = before.get(name, (0, 0))
        progress = ShardProgress(used=known[0] + used, duplicates=known[1] + duplicate)
        window: Any = SimpleNamespace(shard=name, progress=progress, pending=pending, open_slides=int(pending > 0))
        processes[home].ledger.add_window(window)
    told = [shown(process, "dynmm_events_total") for process in processes]
    assert sum(one["used",] for one in told) == sum(one[0] for one in before.values()) + sum(one[1] for one in woken.values())
    assert sum(one["duplicate",] for one in told) == sum(one[1] for one in before.values()) + sum(
        one[2] for one in woken.values()
    )
    pending = [shown(process, "dynmm_events_pending")[()] for process in processes]
    assert sum(pending) == sum(one[3] for one in woken.values())
    assert sum(one["read",] for one in told) == 300
