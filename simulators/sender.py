"""Sends messages to a topic: at a pace, through pressure and a broker that is away for a while, with no failure unseen."""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dynmm_core.console import Bar
from dynmm_core.errors import UserError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_QUEUED_AT_ONCE = 1_000
_TICK_S = 0.02  # what is due within one is sent together
_WAIT_S = 0.5
# librdkafka's own log lines are not for the terminal.
_rdkafka = logging.getLogger("rdkafka")
_rdkafka.addHandler(logging.NullHandler())
_rdkafka.propagate = False


@dataclass(frozen=True)
class Sent:
    """What was sent and acknowledged, and how long that took."""

    messages: int
    events: int
    seconds: float


def open_producer(bootstrap: str, properties: Mapping[str, str] | None = None) -> Producer:
    """A producer that neither loses nor reorders, and bears ten minutes without a broker; librdkafka's ``properties`` win.

    Raises:
        UserError: librdkafka refuses a property, or ``${NAME}`` in one is not in the environment.
    """
    filled = {name: _VARIABLE.sub(_environment, value) for name, value in (properties or {}).items()}
    settings = {
        "acks": "all",
        "enable.idempotence": True,
        "delivery.timeout.ms": 600_000,
        "linger.ms": 50,
        "batch.num.messages": 10_000,
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 262_144,
        "compression.type": "lz4",
        "message.max.bytes": 8_388_608,  # brokers judge what is compressed
        "reconnect.backoff.max.ms": 1_000,
        "delivery.report.only.error": True,
        **filled,
        "bootstrap.servers": bootstrap,
        "error_cb": lambda error: None,  # what fails for good is told with the message
    }
    try:
        return Producer(settings, logger=_rdkafka)
    except KafkaException as error:
        raise UserError(f"--property: {told(error)}") from error


def count_partitions(producer: Producer, topic: str, longest_s: float = 60.0) -> int:
    """How many partitions the topic has; waits ``longest_s`` for the broker.

    Raises:
        UserError: there is no such topic, or no broker.
    """
    deadline = time.monotonic() + longest_s
    while True:
        try:
            found = producer.list_topics(topic, timeout=max(0.1, min(5.0, deadline - time.monotonic()))).topics[topic]
        except KafkaException as error:
            if time.monotonic() >= deadline:
                raise UserError(f"--to-kafka: no broker answers ({told(error)}); check the address and the security") from error
            producer.poll(_WAIT_S)
            continue
        if found.error is None and found.partitions:
            return len(found.partitions)
        unknown = found.error is None or found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        if unknown or time.monotonic() >= deadline:
            raise UserError(f"--topic: there is no topic {topic}; create it with `dynmm flow topics`")
        producer.poll(_WAIT_S)


class Sender:
    """Queues messages in order; every method raises UserError as soon as one of them could not be delivered.

    ``speed``: seconds of the log per second on the wall, None as fast as possible.
    """

    def __init__(self, producer: Producer, topic: str, speed: float | None, bar: Bar) -> None:
        self._producer, self._topic, self._bar = producer, topic, bar
        self._speed = speed
        self._begun: tuple[float, int] | None = None  # on the wall, in the log
        self._failure: KafkaError | None = None

    def send(
        self, values: Sequence[bytes], partitions: Sequence[int], timestamps_ms: Sequence[int], due_ms: np.ndarray, events: int
    ) -> None:
        """Queue messages with explicit partitions and timestamps, each when it is due (n,) ascending; ``events`` in all."""
        for first, last in self._runs(due_ms):
            self._wait_until(int(due_ms[first]))
            self._queue(values[first:last], partitions[first:last], timestamps_ms[first:last])
            self._bar.advance(events * last // len(values) - events * first // len(values))

    def flush(self) -> None:
        """Wait until everything is acknowledged."""
        while self._producer.flush(_WAIT_S):
            self._check()
        self._check()

    def _runs(self, due_ms: np.ndarray) -> Iterator[tuple[int, int]]:
        bounds = np.arange(0, len(due_ms), _QUEUED_AT_ONCE)
        if self._speed is not None:
            ticks = (due_ms / (self._speed * _TICK_S * 1_000)).astype(np.int64)
            bounds = np.union1d(bounds, np.flatnonzero(ticks[1:] != ticks[:-1]) + 1)
        return pairwise([*bounds.tolist(), len(due_ms)])

    def _wait_until(self, due_ms: int) -> None:
        self._begun = self._begun or (time.monotonic(), due_ms)
        if self._speed is not None:
            moment = self._begun[0] + (due_ms - self._begun[1]) / 1_000 / self._speed
            while (left_s := moment - time.monotonic()) > 0:
                self._producer.poll(min(left_s, _WAIT_S))
                self._check()
        self._producer.poll(0)
        self._check()

    def _queue(self, values: Sequence[bytes], partitions: Sequence[int], timestamps_ms: Sequence[int]) -> None:
        produce, topic, delivered = self._producer.produce, self._topic, self._delivered
        for value, partition, timestamp in zip(values, partitions, timestamps_ms, strict=True):
            while True:
                try:
                    produce(topic, value, partition=partition, timestamp=timestamp, on_delivery=delivered)
                    break
                except BufferError:  # the queue is full until the broker has taken some
                    self._producer.poll(_WAIT_S)
                    self._check()
                except KafkaException as error:
                    raise UserError(f"--to-kafka: {topic}: {told(error)}") from error

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failure = self._failure or error

    def _check(self) -> None:
        if self._failure is not None:
            raise UserError(
                f"--to-kafka: {self._topic}: not delivered ({self._failure.name()}: {self._failure.str()});"
                " what was sent before may be in the topic"
            )


def told(error: KafkaException) -> str:
    """The error in librdkafka's words."""
    cause = error.args[0]
    return f"{cause.name()}: {cause.str()}" if isinstance(cause, KafkaError) else str(error)


def _environment(found: re.Match[str]) -> str:
    value = os.environ.get(found[1])
    if value is None:
        raise UserError(f"--property: the environment has no {found[1]}; export it")
    return value
