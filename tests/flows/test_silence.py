"""A partition is idle only where it could have been heard: not while the broker was away, nor while the process was paused."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from dynmm_core.windows.partition import PartitionReader, ReadSettings
from dynmm_core.windows.progress import start_point
from flows.kafka import interactions, process, silence
from flows.kafka.interactions import Ahead, InteractionsPartition, ReadPace
from flows.kafka.letters import Letters
from flows.kafka.process import LiveProcess
from flows.kafka.settings import KafkaSettings
from flows.observe.health import Health
from flows.observe.metrics import FlowMetrics

START_S, SLIDE_MS, IDLE_AFTER_MS = 1_800_000_000.0, 60_000, 300_000


class Clock:
    """Wall and monotonic time; a process that is suspended sees the first alone go on."""

    def __init__(self) -> None:
        self.wall, self.awake = START_S, 0.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.awake

    def time_ns(self) -> int:
        return int(self.wall * 1e9)


class Broker:
    """One empty partition, whose end is told once; ``end`` None: it does not answer."""

    def __init__(self) -> None:
        self.end: int | None = 0
        self._told = False

    def assign(self, places: Any) -> None:
        pass

    def close(self) -> None:
        pass

    def consume(self, most: int, timeout: float) -> list[Any]:
        if self._told:
            return []
        self._told = True
        return [Message(error=KafkaError(KafkaError._PARTITION_EOF))]

    def position(self, places: Any) -> list[Any]:
        return [SimpleNamespace(offset=0)]

    def get_watermark_offsets(self, place: Any, timeout: float, cached: bool) -> tuple[int, int]:
        if self.end is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return 0, self.end


class Partition:
    """A partition of a live process that is read every second."""

    def __init__(self, clock: Clock, broker: Broker) -> None:
        self._clock, self._broker = clock, broker
        self.process = LiveProcess(0, None, FlowMetrics("live", "summarize"), Health(monotonic=clock.monotonic))
        settings = KafkaSettings(bootstrap="nowhere:1")
        reader = PartitionReader("interactions", start_point(0, 0), ReadSettings(SLIDE_MS, 0, None))
        ahead = Ahead(SLIDE_MS)
        ahead.join(0)
        pace = ReadPace(1_000, IDLE_AFTER_MS)
        self._part = InteractionsPartition(settings, reader, 0, pace, ahead, Letters(settings, self.process), self.process)

    def cuts_within(self, seconds: int, away: bool = False) -> int:
        """How many idle cuts so many seconds bring, in which the broker may be away."""
        made = 0
        for _ in range(seconds):
            self._clock.wall += 1
            self._clock.awake += 1
            if away:
                self.process.note_broker_error("_TRANSPORT")
            made += sum(item.taken.cut is not None for item in self._part.next_batch())
            assert self.process.failure is None
        return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (silence, interactions, process):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(interactions, "open_consumer", lambda *args, **kwargs: broker)
    return broker


@pytest.fixture
def partition(clock: Clock, broker: Broker) -> Partition:
    return Partition(clock, broker)


def test_a_partition_that_is_silent_for_long_is_cut_slide_by_slide(partition: Partition) -> None:
    assert partition.cuts_within(300) == 0
    assert partition.cuts_within(120) == 2 + 1


def test_a_broker_that_is_away_makes_no_partition_idle_and_silence_begins_anew(partition: Partition, broker: Broker) -> None:
    assert partition.cuts_within(290) == 0
    broker.end = None
    assert partition.cuts_within(3_600, away=True) == 0
    broker.end = 0
    assert partition.cuts_within(290) == 0
    assert partition.process.health.report().state == "running"
    assert partition.cuts_within(60) > 0


def test_an_outage_that_is_over_between_two_reads_counts_too(partition: Partition) -> None:
    assert partition.cuts_within(290) == 0
    partition.process.note_broker_error("_TRANSPORT")
    partition.process.note_answer()
    assert partition.cuts_within(290) == 0


def test_an_outage_that_the_client_has_not_noticed_makes_no_cut(partition: Partition, broker: Broker) -> None:
    broker.end = None
    assert partition.cuts_within(3_600) == 0


def test_what_the_broker_holds_and_the_client_has_not_fetched_makes_no_cut(partition: Partition, broker: Broker) -> None:
    broker.end = 7
    assert partition.cuts_within(3_600) == 0


@pytest.mark.parametrize("asleep", [False, True], ids=["stopped", "machine asleep"])
def test_a_process_that_was_paused_listens_anew(partition: Partition, clock: Clock, asleep: bool) -> None:
    assert partition.cuts_within(290) == 0
    clock.wall += 3_600
    clock.awake += 0 if asleep else 3_600
    assert partition.cuts_within(290) == 0
    assert partition.cuts_within(60) > 0
