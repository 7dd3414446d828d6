"""Topics as sinks: every worker produces what it has made; an item is counted as written only by the broker's word."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from bytewax.outputs import DynamicSink, StatelessSinkPartition
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dynmm_core.crash_points import crash_point
from dynmm_core.errors import UserError
from dynmm_core.windows.messages import Chunk, EndMarker
from flows.kafka.clients import open_producer
from flows.kafka.process import LiveProcess
from flows.kafka.settings import KafkaSettings
from flows.kafka.wire import Record
from flows.observe.logs import get_logger

NoteTold = Callable[[str, int], None]
_FLUSH_S, _LAST_FLUSH_S = 0.5, 5.0
# What only a person can change: to start again as before would end the same way.
_REFUSALS = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_RECORD, KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError._GAPLESS_GUARANTEE,
    }
)  # fmt: skip
# What the client says of messages that it dropped behind a refused one: the reason is told of that one.
_DROPPED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})


def refusal(topic: str, error: KafkaError) -> Exception:
    """What to raise where the broker did not take a message."""
    if error.code() in _REFUSALS:
        return UserError(f"kafka: {topic} takes no message ({error.str()}); mend the topic and start again, nothing is lost")
    return RuntimeError(f"kafka: {topic}: {error.str()}")


class TopicWriter:
    """Produces records to one topic, in order; waits where the broker is away, and fails the process where it refuses."""

    def __init__(self, settings: KafkaSettings, topic: str, process: LiveProcess) -> None:
        self._topic, self._process = topic, process
        self._producer: Producer = open_producer(settings, self._note_error)
        self._stopping_since: float | None = None
        self._given_up = False
        self._dropped: KafkaError | None = None

    def write(self, record: Record, on_written: Callable[[], None] | None = None) -> None:
        """Hand a record over; it is on its way, not yet written. Behind one that was given up nothing is sent any more.

        ``on_written`` is called when the broker has it.
        """
        place = {} if record.partition is None else {"partition": record.partition}
        delivered = self._delivered if on_written is None else partial(self._delivered, on_written=on_written)
        while not self._gives_up():
            try:
                with self._end_noted():
                    self._producer.produce(
                        self._topic, record.value, record.key, headers=record.headers, on_delivery=delivered, **place
                    )
                break
            except BufferError:
                with self._end_noted():
                    self._producer.poll(0.1)
        with self._end_noted():
            self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has everything, or the process has failed, or is to stop and the broker stays away."""
        with self._end_noted():
            while self._producer.flush(_FLUSH_S) and self._process.failure is None and not self._gives_up():
                pass

    @contextmanager
    def _end_noted(self) -> Iterator[None]:
        """Fail the process where the client is at its end, which it tells by an exception from whatever call comes next."""
        try:
            yield
            self._tell_dropped()
        except KafkaException as error:
            if error.args[0].code() == KafkaError._FATAL:
                with self._end_noted():
                    self._producer.poll(0.2)  # the reason waits in a callback
            self._process.fail(refusal(self._topic, error.args[0]))
        except SystemError as error:  # it was told inside a callback, at times without the reason
            cause = error.__cause__
            known = isinstance(cause, KafkaException)
            reason = cause.args[0] if known else KafkaError(KafkaError._GAPLESS_GUARANTEE, "a message was refused")
            self._process.fail(refusal(self._topic, reason))

    def _tell_dropped(self) -> None:
        """Fail the process for messages that were dropped, with the reason if it is still to come."""
        if self._dropped is not None and self._process.failure is None:
            self._producer.poll(0.2)
            if self._process.failure is None:
                self._process.fail(refusal(self._topic, KafkaError(KafkaError._GAPLESS_GUARANTEE, self._dropped.str())))

    def _gives_up(self) -> bool:
        """Whether to wait no more: what the broker has not got is made again by the next start."""
        if self._process.stopping and not self._given_up:
            self._stopping_since = self._stopping_since or time.monotonic()
            self._given_up = len(self._producer) > 0 and time.monotonic() - self._stopping_since > _LAST_FLUSH_S
            if self._given_up:
                get_logger().warning("not_delivered", topic=self._topic, records=len(self._producer))
        return self._given_up

    def _delivered(self, error: KafkaError | None, message: Message, on_written: Callable[[], None] = lambda: None) -> None:
        if error is not None and error.code() in _DROPPED:
            self._dropped = error
        elif error is not None:
            self._process.fail(refusal(self._topic, error))
        else:
            on_written()
            if self._process.health.waiting:
                self._process.note_answer()

    def _note_error(self, error: KafkaError) -> None:
        self._process.note_broker_error(error.name())


class _TopicPart(StatelessSinkPartition[Any]):
    def __init__(
        self, writer: Callable[[], TopicWriter], to_record: Callable[[Any], Record], process: LiveProcess,
        settle: Callable[[], None], note_told: NoteTold,
    ) -> None:  # fmt: skip
        self._open, self._to_record, self._settle, self._note_told = writer, to_record, settle, note_told
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
            told = None
            if isinstance(item, EndMarker):
                self._settle()
                crash_point("before-end-marker", self._writer.flush)
                told = partial(self._note_told, item.shard, item.closed_through_ms)
            self._writer.write(self._to_record(item), told)
            if isinstance(item, Chunk):
                crash_point("between-chunks", self._writer.flush)
        return []


class TopicSink(DynamicSink[Any]):
    """Keyed items to a topic, made records by ``to_record``; what a bucket sends stays in its order.

    ``settle`` is called before an end marker is sent: it puts on disk what the marker names. ``note_told`` is called with a
    bucket, and the slide's end through which its marker closes it, when the broker has the marker.
    """

    def __init__(
        self, settings: KafkaSettings, topic: str, to_record: Callable[[Any], Record], process: LiveProcess,
        settle: Callable[[], None] = lambda: None, note_told: NoteTold = lambda shard, through_ms: None,
    ) -> None:  # fmt: skip
        self._settings, self._topic, self._to_record, self._process = settings, topic, to_record, process
        self._settle, self._note_told = settle, note_told

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _TopicPart:
        """The part of one worker; it reaches for the broker with its first item."""
        return _TopicPart(self._open, self._to_record, self._process, self._settle, self._note_told)

    def _open(self) -> TopicWriter:
        return TopicWriter(self._settings, self._topic, self._process)
