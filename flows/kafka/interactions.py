"""Interactions from Kafka: one part per partition, each with its own consumer, read point and clock."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import compress
from operator import itemgetter

import numpy as np
from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from dynmm_core.errors import UserError
from dynmm_core.windows.clock import NEVER_MS
from dynmm_core.windows.intake import Taken
from dynmm_core.windows.partition import PartitionReader, ReadSettings
from flows.items import ReadItem
from flows.kafka.clients import end_of, open_consumer, passes
from flows.kafka.letters import Letters
from flows.kafka.plan import ReadPlan
from flows.kafka.process import LiveProcess
from flows.kafka.settings import KafkaSettings
from flows.kafka.silence import Silence

_FIRST_CALL_MESSAGES, _CALL_MESSAGES = 16, 1_000
_BATCH_BYTES = 3 << 19
_MILLISECONDS = itemgetter(1)  # of (kind, time)
_PAUSE = timedelta(milliseconds=5)


@dataclass(frozen=True)
class ReadPace:
    """How much one call reads, and how long a partition may be silent (None: for ever)."""

    batch_size: int
    idle_after_ms: int | None


class InteractionsPartition(StatefulSourcePartition[ReadItem, None]):
    """One partition. It is stopped by the process; where it goes on is in the markers of the slides, not in the engine."""

    def __init__(
        self, settings: KafkaSettings, reader: PartitionReader, partition: int, pace: ReadPace,
        ahead: "Ahead", letters: Letters, process: LiveProcess,
    ) -> None:  # fmt: skip
        self._letters = letters
        self._settings, self._reader, self._partition = settings, reader, partition
        self._pace, self._ahead, self._process = pace, ahead, process
        self._consumer: Consumer | None = None
        self._told_end = False
        self._silence = Silence(pace.idle_after_ms)
        self._at_end = False
        self._awake: datetime | None = None
        self._call_messages = _FIRST_CALL_MESSAGES
        self._step = process.guarded(self._read)

    def next_batch(self) -> list[ReadItem]:
        """The next items of this partition; none while it is silent or too far ahead of the others."""
        if self._process.failure is not None:
            raise AbortExecution()
        if self._process.stopping or self._reader.finished:
            self._ahead.leave(self._partition)
            raise StopIteration()
        items = self._step(None)
        if self._process.failure is not None:
            raise AbortExecution()
        self._awake = None if items else datetime.now(UTC) + _PAUSE
        return items

    def next_awake(self) -> datetime | None:
        """A little later where nothing was there."""
        return self._awake

    def snapshot(self) -> None:
        """None: the markers of the slides say where to go on."""
        self._process.note_epoch(f"{self._settings.interactions}/{self._partition}")

    def close(self) -> None:
        """Leave the broker."""
        self._letters.flush()
        if self._consumer is not None:
            self._consumer.close()

    def _read(self, _: None) -> list[ReadItem]:
        if self._consumer is None:
            self._open()
        self._silence.listen(self._process.health.waiting, self._process.broker_errors)
        if not self._told_end and (ends := self._process.ends()) is not None:
            if self._partition in ends:
                self._reader.end_at(ends[self._partition])
            self._told_end = True
        if self._ahead.must_wait(self._partition):
            self._process.note_partition(self._settings.interactions, self._partition, self._reader, self._end, held=True)
            return []
        taken = self._take_next() or self._take_silence()
        self._ahead.note(self._partition, self._reader.closed_through_ms, self._at_end)
        self._process.note_partition(self._settings.interactions, self._partition, self._reader, self._end)
        for one in taken:
            self._letters.write(one)
        return [ReadItem(self._partition, one) for one in taken]

    def _end(self, ask: bool) -> int:
        assert self._consumer is not None
        return end_of(self._consumer, self._settings.interactions, self._partition, ask)

    def _open(self) -> None:
        self._consumer = open_consumer(self._settings, self._ahead.members, on_error=self._process.note_client_error)
        self._consumer.assign([TopicPartition(self._settings.interactions, self._partition, self._reader.next_offset)])

    def _consume(self, most: int) -> tuple[list[Message], np.ndarray | None]:
        """Messages (n,) that are there, and the broker's time (n,) of each, if events need such."""
        assert self._consumer is not None
        found: list[Message] = self._consumer.consume(min(self._call_messages, most), timeout=0)
        # Mapped, not looped over: this is done for every message there is.
        times = None
        if self._process.needs_timestamps:
            times = np.fromiter(map(_MILLISECONDS, map(Message.timestamp, found)), np.int64, len(found))
        # What tells an error has no time, so that the times say whether there may be one.
        failed = (times is None or bool((times < 0).any())) and any(map(Message.error, found))
        if failed:
            sound = [message.error() is None for message in found]
            for message in compress(found, np.logical_not(sound)):
                self._note_error(message)
            found, times = list(compress(found, sound)), None if times is None else times[sound]
        if found:
            self._at_end = self._at_end and failed
            self._silence.begin()
        return found, times

    def _note_error(self, message: Message) -> None:
        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            self._at_end = True
            return
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise UserError(
                f"offset: {self._settings.interactions}/{self._partition} no longer holds offset {self._reader.next_offset};"
                " its events are lost to this run: begin another with --run NAME, and raise the topic's retention"
            )
        if not passes(error):
            raise UserError(f"kafka: {self._settings.interactions}/{self._partition}: {error.str()}") from KafkaException(error)
        self._process.note_broker_error(error.name())

    def _take_next(self) -> list[Taken]:
        """What is there by now, up to a batch; small calls to the client are the fast ones, large batches the cheap ones."""
        values: list[bytes | None] = []
        places: list[range] = []
        times: list[np.ndarray] = []
        size = 0
        most = self._pace.batch_size
        while len(values) < most and size < _BATCH_BYTES:
            messages, stamped = self._consume(most - len(values))
            if not messages:
                break
            values += map(Message.value, messages)
            if stamped is not None:
                times.append(stamped)
            # A message may hold one event or thousands: what a call brings is judged by what the last one brought.
            largest = max(len(messages[0]), len(messages[-1]), 1)
            size += largest * len(messages)
            self._call_messages = max(1, min(_CALL_MESSAGES, _BATCH_BYTES // largest))
            places += _offsets(messages)
        if not values:
            return []
        first, behind = places[0].start, places[-1].stop
        whole = behind - first == len(values)
        offsets = range(first, behind) if whole else [offset for stretch in places for offset in stretch]
        return self._reader.read(values, offsets, np.concatenate(times) if times else None, behind)

    def _take_silence(self) -> list[Taken]:
        """Nothing has come: behind the last message there may still be an end or a recorded cut; or the partition is idle."""
        assert self._consumer is not None
        if not self._at_end:
            return []
        # Control messages and aborted ones have offsets, too: the log is read up to the consumer's own position.
        position = self._consumer.position([TopicPartition(self._settings.interactions, self._partition)])[0].offset
        taken = self._reader.read((), (), None, max(position, self._reader.next_offset))
        idle_after_ms = self._pace.idle_after_ms
        if not self._reader.finished and idle_after_ms is not None and self._silence.is_long:
            taken += self._reader.idle(time.time_ns() // 1_000_000, idle_after_ms, self._is_all_read)
        return taken

    def _is_all_read(self) -> bool:
        """Whether the broker itself says that nothing is there: a cut is for ever, and a client may learn late of an outage."""
        if 0 <= self._end(True) <= self._reader.next_offset:
            return True
        self._silence.begin()
        return False


def _offsets(messages: list[Message]) -> list[range]:
    """The messages' offsets in stretches; asked one by one only where some are missing in between."""
    first, last = messages[0].offset(), messages[-1].offset()
    if last - first + 1 == len(messages):
        return [range(first, last + 1)]
    return [range(message.offset(), message.offset() + 1) for message in messages]


class Ahead:
    """Keeps the partitions of one process together: what one has read ahead of the others has to be held open.

    A partition waits while it has closed more than ``slides`` slides beyond the slowest that still has something to read.
    """

    def __init__(self, slide_ms: int, slides: int = 2) -> None:
        self._most_ms = slides * slide_ms
        self._through: dict[int, int] = {}
        self._reading: set[int] = set()
        self.members = 0

    def join(self, partition: int) -> None:
        """A partition of this process."""
        self.members += 1
        self._reading.add(partition)
        self._through[partition] = NEVER_MS

    def note(self, partition: int, closed_through_ms: int, at_end: bool) -> None:
        """A partition stands at ``closed_through_ms``; ``at_end``: there is nothing more to read of it now."""
        self._through[partition] = closed_through_ms
        if at_end:
            self._reading.discard(partition)
        else:
            self._reading.add(partition)

    def leave(self, partition: int) -> None:
        """The partition has ended."""
        self._reading.discard(partition)

    def must_wait(self, partition: int) -> bool:
        """Whether the others should come first."""
        others = [self._through[other] for other in self._reading if other != partition]
        return bool(others) and self._through[partition] > min(others) + self._most_ms


class InteractionsSource(FixedPartitionedSource[ReadItem, None]):
    """The partitions of the interactions topic, spread over the processes by the engine."""

    def __init__(
        self, settings: KafkaSettings, plan: ReadPlan, reading: ReadSettings, pace: ReadPace, process: LiveProcess
    ) -> None:  # fmt: skip
        self._settings, self._plan, self._reading, self._pace, self._process = settings, plan, reading, pace, process
        self._ahead = Ahead(reading.slide_ms)
        self._letters = Letters(settings, process)

    def list_parts(self) -> list[str]:
        """One name per partition; the same in every process."""
        return [f"part-{partition:05}" for partition in self._plan.partitions]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> InteractionsPartition:
        """The partition of that name, from its read point."""
        partition = int(for_part.removeprefix("part-"))
        self._ahead.join(partition)
        reader = self._plan.reader(self._settings.interactions, partition, self._reading)
        self._process.ledger.add_reader(partition, reader)
        return InteractionsPartition(self._settings, reader, partition, self._pace, self._ahead, self._letters, self._process)
