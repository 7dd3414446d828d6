"""Slides' messages from Kafka: the source of adapt, and the newest end markers from which summarize goes on."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from dynmm_core.errors import UserError
from dynmm_core.windows.messages import EndMarker
from dynmm_core.windows.resume import reaches_back
from flows.items import ADAPT_KEY, SummaryItem
from flows.kafka.clients import bounds_of, end_of, open_consumer, passes
from flows.kafka.plan import SummariesPlan
from flows.kafka.process import LiveProcess
from flows.kafka.settings import KafkaSettings
from flows.kafka.wire import is_marker, message_of, run_of

_CALL_MESSAGES = 64  # chunks are large
_READ_MESSAGES = 2_000  # the prefetch bounds their bytes; what is complete among them is known to wait
_PAUSE = timedelta(milliseconds=20)
_PREFETCH_KBYTES = 32_768
_FIRST_LOOK_BACK = 500
_CALL_SECONDS, _READ_SECONDS = 0.05, 10.0

SummaryPair = tuple[str, SummaryItem]


class SummariesPartition(StatefulSourcePartition[SummaryPair, None]):
    """One partition of the summaries topic, of one run's messages; ends when the process stops."""

    def __init__(
        self, settings: KafkaSettings, run: str, slide_ms: int, partition: int, offset: int, sharers: int, process: LiveProcess
    ) -> None:
        self._settings, self._run, self._slide_ms = settings, run, slide_ms
        self._partition, self._offset, self._sharers, self._process = partition, offset, sharers, process
        self._consumer: Consumer | None = None
        self._awake: datetime | None = None
        self._step = process.guarded(self._read)

    def next_batch(self) -> list[SummaryPair]:
        """The next messages, all under the key of adapt."""
        if self._process.failure is not None:
            raise AbortExecution()
        if self._process.stopping:
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
        """None: the store's head says where to go on."""
        self._process.note_epoch(f"{self._settings.summaries}/{self._partition}")

    def close(self) -> None:
        """Leave the broker."""
        if self._consumer is not None:
            self._consumer.close()

    def _read(self, _: None) -> list[SummaryPair]:
        if self._consumer is None:
            self._consumer = open_consumer(
                self._settings, self._sharers, _PREFETCH_KBYTES, on_error=self._process.note_client_error
            )
            self._consumer.assign([TopicPartition(self._settings.summaries, self._partition, self._offset)])
        items = []
        for message in self._consumer.consume(_READ_MESSAGES, timeout=0):
            if message.error() is not None:
                self._note_error(message)
            elif run_of(message.key()) == self._run:
                items.append((ADAPT_KEY, _item(message, self._slide_ms)))
        position = self._consumer.position([TopicPartition(self._settings.summaries, self._partition)])[0].offset
        self._process.note_reading(self._settings.summaries, self._partition, max(position, self._offset), self._end)
        return items

    def _end(self, ask: bool) -> int:
        assert self._consumer is not None
        return end_of(self._consumer, self._settings.summaries, self._partition, ask)

    def _note_error(self, message: Message) -> None:
        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            return
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise _gone(self._settings.summaries, self._partition, self._offset)
        if not passes(error):
            raise UserError(f"kafka: {self._settings.summaries}/{self._partition}: {error.str()}") from KafkaException(error)
        self._process.note_broker_error(error.name())


class SummariesSource(FixedPartitionedSource[SummaryPair, None]):
    """The summaries topic; one part per partition."""

    def __init__(self, settings: KafkaSettings, run: str, slide_ms: int, plan: SummariesPlan, process: LiveProcess) -> None:
        self._settings, self._run, self._slide_ms, self._plan, self._process = settings, run, slide_ms, plan, process

    def list_parts(self) -> list[str]:
        """One name per partition."""
        return [f"part-{partition:05}" for partition in self._plan.offsets]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> SummariesPartition:
        """The partition of that name, from its planned offset."""
        partition = int(for_part.removeprefix("part-"))
        offset, sharers = self._plan.offsets[partition], len(self._plan.offsets)
        return SummariesPartition(self._settings, self._run, self._slide_ms, partition, offset, sharers, self._process)


def newest_markers(
    consumer: Consumer, topic: str, partitions: list[int], run: str, slide_ms: int, shards: Sequence[str]
) -> dict[str, list[EndMarker]]:
    """The newest end markers of each bucket of a run, in order: as many as it takes to go on, or all there are.

    Raises:
        KafkaException: the broker does not answer.
        UserError: the run sends slides of another length.
    """
    bounds = {partition: bounds_of(consumer, topic, partition) for partition in partitions}
    back = _FIRST_LOOK_BACK
    while True:
        markers: dict[str, list[EndMarker]] = {}
        for partition, (low, high) in bounds.items():
            for message in _read_between(consumer, topic, partition, max(low, high - back), high):
                if run_of(message.key()) == run and is_marker(message.key()):
                    marker = _item(message, slide_ms).message
                    assert isinstance(marker, EndMarker)
                    markers.setdefault(marker.shard, []).append(marker)
        if reaches_back(markers, shards) or all(high - back <= low for low, high in bounds.values()):
            return markers
        back *= 4


def _read_between(consumer: Consumer, topic: str, partition: int, first: int, last: int) -> Iterator[Message]:
    """The messages of a partition from ``first`` up to ``last`` (exclusive)."""
    if first >= last:
        return
    consumer.assign([TopicPartition(topic, partition, first)])
    heard_at = time.monotonic()
    try:
        while time.monotonic() - heard_at < _READ_SECONDS:
            for message in consumer.consume(_CALL_MESSAGES, timeout=_CALL_SECONDS):  # waits for that many, or that long
                heard_at = time.monotonic()
                if message.error() is not None:
                    if message.error().code() == KafkaError._PARTITION_EOF:
                        return
                    raise KafkaException(message.error())
                yield message
                if message.offset() >= last - 1:
                    return
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic}/{partition} is silent behind {first}"))
    finally:
        consumer.unassign()


def _item(message: Message, slide_ms: int) -> SummaryItem:
    headers = dict(message.headers() or [])
    slide = message_of(message.key(), message.value(), headers, slide_ms)
    return SummaryItem(slide, message.partition(), message.offset(), max(0, message.timestamp()[1]) or None)


def _gone(topic: str, partition: int, offset: int) -> UserError:
    return UserError(
        f"offset: {topic}/{partition} no longer holds offset {offset}, where the store's head goes on; summaries are lost to this"
        " run: begin another with --run NAME and another --out, and raise the topic's retention"
    )
