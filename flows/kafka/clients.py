"""Clients of the broker with the settings that this project needs, and the waits that a stream must bear."""

import itertools
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from dynmm_core.errors import DynmmError, UserError
from flows.kafka.settings import KafkaSettings
from flows.observe.logs import get_logger

Value = TypeVar("Value")
_FIRST_WAIT_S, _LONGEST_WAIT_S, _LOOK_S = 0.2, 15.0, 0.1
# The first question of every plan is the short one: a flow that is to stop while the broker is away waits for its end.
_TOPIC_SECONDS, _ASK_SECONDS, _SHORT_ASK_SECONDS = 3.0, 10.0, 0.5
_PREFETCH_MESSAGES, _PREFETCH_KBYTES = 50_000, 16_384  # librdkafka's defaults starve a fast reader
_PASSING = frozenset(
    {
        KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE,
        KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT, KafkaError.BROKER_NOT_AVAILABLE, KafkaError.NETWORK_EXCEPTION,
    }
)  # fmt: skip
# librdkafka's own log lines go the way of ours instead of raw to stderr.
_rdkafka = logging.getLogger("rdkafka")
_rdkafka.addHandler(logging.NullHandler())
_rdkafka.propagate = False


class Stopped(DynmmError):
    """The flow was stopped while it waited for its broker, as it was asked to be: no failure."""

    exit_code = 0


def passes(error: KafkaError) -> bool:
    """Whether waiting can help: the broker is away, not the request wrong."""
    return error.code() in _PASSING or error.retriable()


def open_consumer(
    settings: KafkaSettings, sharers: int = 1, prefetch_kbytes: int = _PREFETCH_KBYTES, group: str = "dynmm",
    on_error: Callable[[KafkaError], None] | None = None,
) -> Consumer:  # fmt: skip
    """A consumer without a group; ``sharers`` consumers of a process divide the prefetch budget among them."""
    budget = max(1_024, prefetch_kbytes // sharers)
    return Consumer(
        {
            "isolation.level": "read_committed",
            "queued.min.messages": max(1_000, _PREFETCH_MESSAGES // sharers),
            "queued.max.messages.kbytes": budget,
            # A reply comes on top of what is queued already, and each of its messages weighs some 300 bytes more than its value.
            "fetch.message.max.bytes": min(1_048_576, budget * 256),
            "fetch.queue.backoff.ms": 5,  # its last millisecond is spent spinning: of 2 that was half of the thread's time
            "fetch.wait.max.ms": 50,
            **settings.client(),
            # Positions are ours, but for those of redriven letters. librdkafka wants a name all the same.
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "error_cb": on_error or (lambda error: None),
        },
        logger=_rdkafka,
    )


def open_producer(settings: KafkaSettings, on_error: Callable[[KafkaError], None] | None = None) -> Producer:
    """A producer that neither loses nor reorders, waiting as long as the broker is away.

    Nothing is compressed unless the properties say so: hashes and counts hardly shrink, and it would cost more than sums.
    """
    return Producer(
        {
            "linger.ms": 20,
            "message.max.bytes": 1_048_576,
            "queue.buffering.max.kbytes": 24_576,
            **settings.client(),
            "enable.idempotence": True,
            # Behind a message that the broker refuses nothing is sent: an end marker without all its chunks would lose a slide.
            "enable.gapless.guarantee": True,
            "delivery.timeout.ms": 2_147_483_647,
            "error_cb": on_error or (lambda error: None),
        },
        logger=_rdkafka,
    )


def open_admin(settings: KafkaSettings) -> AdminClient:
    """A client for topics."""
    return AdminClient(settings.client(), logger=_rdkafka)


def patiently(
    what: str, ask: Callable[[], Value], stopping: Callable[[], bool] = lambda: False, longest_s: float | None = None,
    on_wait: Callable[[str], None] = lambda reason: None,
) -> Value:  # fmt: skip
    """Ask the broker again and again while it is away, waiting longer each time.

    Raises:
        UserError: the broker refuses, or ``longest_s`` have passed.
        Stopped: the flow is being stopped.
    """
    log = get_logger()
    begun = time.monotonic()
    for attempt in itertools.count():
        try:
            return ask()
        except KafkaException as error:
            cause = error.args[0]
            if not isinstance(cause, KafkaError) or not passes(cause):
                raise UserError(f"kafka: {what}: {_told(error)}") from error
            wait_s = min(_FIRST_WAIT_S * 2 ** min(attempt, 10), _LONGEST_WAIT_S)
            if longest_s is not None and time.monotonic() - begun + wait_s > longest_s:
                raise UserError(
                    f"kafka: {what}: the broker could not be reached; see that it runs, check kafka.bootstrap (--bootstrap)"
                    " and try again"
                ) from error
            on_wait(_told(error))
            log.warning("waiting_for_broker", asked=what, seconds=round(wait_s, 1), error=_told(error))
            _wait(wait_s, what, stopping)
    raise AssertionError("unreachable")


def _wait(wait_s: float, what: str, stopping: Callable[[], bool]) -> None:
    until = time.monotonic() + wait_s
    while (left_s := until - time.monotonic()) > 0:
        if stopping():
            raise Stopped(f"kafka: {what}: stopped before it began, while it waited for the broker; nothing was changed")
        time.sleep(min(_LOOK_S, left_s))


def partitions_of(consumer: Consumer | AdminClient, topic: str) -> list[int]:
    """The topic's partitions.

    Raises:
        UserError: there is no such topic.
        KafkaException: the broker does not answer.
    """
    found = consumer.list_topics(topic, timeout=_TOPIC_SECONDS).topics.get(topic)
    if found is None or found.error is not None or not found.partitions:
        if found is not None and found.error is not None and found.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise KafkaException(found.error)
        raise UserError(f"kafka: there is no topic {topic}; create it with `dynmm flow topics`")
    return sorted(found.partitions)


def end_of(consumer: Consumer, topic: str, partition: int, ask: bool) -> int:
    """The offset behind a partition's newest message, as it came with the last fetch; ``ask`` asks the broker. -1: unknown."""
    place = TopicPartition(topic, partition)
    try:
        found = consumer.get_watermark_offsets(place, timeout=_SHORT_ASK_SECONDS, cached=not ask)
    except KafkaException:
        return -1
    return -1 if found is None else int(found[1])


def bounds_of(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """First and next offset that the broker holds of a partition."""
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ASK_SECONDS)
    return int(low), int(high)


def _told(error: KafkaException) -> str:
    cause = error.args[0]
    return f"{cause.name()}: {cause.str()}" if isinstance(cause, KafkaError) else str(error)
