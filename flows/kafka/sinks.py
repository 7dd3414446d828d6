"""Topics as sinks: every worker produces what it has made; an item is counted as written only by the broker's word."""

from collections.abc import Callable
from typing import Any

from bytewax.outputs import DynamicSink, StatelessSinkPartition
from confluent_kafka import KafkaError, Message, Producer

from dynmm_core.crash_points import crash_point
from dynmm_core.windows.messages import Chunk, EndMarker
from flows.kafka.clients import open_producer
from flows.kafka.process import LiveProcess
from flows.kafka.settings import KafkaSettings
from flows.kafka.wire import Record

_FLUSH_S = 5.0


class TopicWriter:
    """Produces records to one topic, in order; waits where the broker is away, and fails the process where it refuses."""

    def __init__(self, settings: KafkaSettings, topic: str, process: LiveProcess) -> None:
        self._topic, self._process = topic, process
        self._producer: Producer = open_producer(settings, self._note_error)

    def write(self, record: Record) -> None:
        """Hand a record over; it is on its way, not yet written."""
        place = {} if record.partition is None else {"partition": record.partition}
        while True:
            try:
                self._producer.produce(
                    self._topic, record.value, record.key, headers=record.headers, on_delivery=self._delivered, **place
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has everything, or the process has failed."""
        while self._producer.flush(_FLUSH_S) and self._process.failure is None:
            pass

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._process.fail(RuntimeError(f"kafka: {self._topic}: {error.str()}"))
        elif self._process.health.waiting:
            self._process.note_answer()

    def _note_error(self, error: KafkaError) -> None:
        self._process.note_broker_error(error.name())


class _TopicPart(StatelessSinkPartition[Any]):
    def __init__(self, writer: Callable[[], TopicWriter], to_record: Callable[[Any], Record], process: LiveProcess) -> None:
        self._open, self._to_record = writer, to_record
        self._writer: TopicWriter | None = None
        self._step = process.guarded(self._write)

    def write_batch(self, items: list[Any]) -> None:
        self._step(items)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def _write(self, items: list[Any]) -> list[None]:
        if self._writer is None:
            self._writer = self._open()
        for _, item in items:
            if isinstance(item, EndMarker):
                crash_point("before-end-marker", self._writer.flush)
            self._writer.write(self._to_record(item))
            if isinstance(item, Chunk):
                crash_point("between-chunks", self._writer.flush)
        return []


class TopicSink(DynamicSink[Any]):
    """Keyed items to a topic, made records by ``to_record``; what a bucket sends stays in its order."""

    def __init__(self, settings: KafkaSettings, topic: str, to_record: Callable[[Any], Record], process: LiveProcess) -> None:
        self._settings, self._topic, self._to_record, self._process = settings, topic, to_record, process

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _TopicPart:
        """The part of one worker; it reaches for the broker with its first item."""
        return _TopicPart(lambda: TopicWriter(self._settings, self._topic, self._process), self._to_record, self._process)
