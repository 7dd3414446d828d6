"""Dead letters back into the stream."""

from collections import Counter
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from dynmm_core.errors import UserError
from flows.kafka.clients import bounds_of, open_consumer, open_producer, partitions_of, patiently
from flows.kafka.settings import KafkaSettings

_GROUP = "dynmm-redrive"
_CALL_MESSAGES, _READ_SECONDS = 500, 10.0
_COMMITTED_SECONDS = 10.0


@dataclass
class Redriven:
    """What became of the letters that were looked at: sent back, or passed over; all of them by reason."""

    sent: int = 0
    passed_over: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)


def redrive_letters(settings: KafkaSettings, reason: str | None, limit: int | None, dry_run: bool) -> Redriven:
    """Produce the letters that were not sent back before, byte for byte, to the interactions topic.

    The place up to which letters were looked at moves only when the broker has them all: a second attempt after a crash may
    send some twice, and the flow knows events with an id of their own as duplicates.
    """
    consumer = open_consumer(settings, group=_GROUP)
    try:
        partitions = patiently("redrive", lambda: partitions_of(consumer, settings.dead_letters), longest_s=60)
        found = Redriven()
        for partition in partitions:
            place = TopicPartition(settings.dead_letters, partition)
            low, high = bounds_of(consumer, settings.dead_letters, partition)
            begun = consumer.committed([place], timeout=_COMMITTED_SECONDS)[0].offset
            behind = _send(consumer, settings, partition, max(low, begun), high, reason, limit, dry_run, found)
            if not dry_run and behind > begun:
                consumer.commit(offsets=[TopicPartition(settings.dead_letters, partition, behind)], asynchronous=False)
        return found
    finally:
        consumer.close()


def _send(
    consumer: Consumer, settings: KafkaSettings, partition: int, first: int, last: int,
    reason: str | None, limit: int | None, dry_run: bool, found: Redriven,
) -> int:  # fmt: skip
    """Send one partition's letters; return the offset behind the last one looked at."""
    if first >= last:
        return first
    producer = open_producer(settings)
    refused: list[str] = []
    consumer.assign([TopicPartition(settings.dead_letters, partition, first)])
    behind = first
    while behind < last and (limit is None or found.sent < limit):
        messages = consumer.consume(
            min(_CALL_MESSAGES, (limit - found.sent) if limit is not None else _CALL_MESSAGES), timeout=_READ_SECONDS
        )
        if not messages:
            raise UserError(f"kafka: {settings.dead_letters}/{partition} is silent at {behind}; try again")
        for message in messages:
            if message.error() is not None:
                if message.error().code() == KafkaError._PARTITION_EOF:
                    behind = last
                    break
                raise UserError(f"kafka: {settings.dead_letters}: {message.error().str()}; try again")
            why = _reason(message)
            wanted = reason is None or reason in why
            found.by_reason[why] += 1
            found.sent += wanted
            found.passed_over += not wanted
            if wanted and not dry_run:
                producer.produce(
                    settings.interactions, message.value(), headers=[("redriven_from", message.key() or b"")],
                    on_delivery=lambda error, _: refused.append(error.str()) if error is not None else None,
                )  # fmt: skip
            behind = message.offset() + 1
    producer.flush()
    if refused:
        raise UserError(
            f"kafka: {settings.interactions} refused {len(refused)} letters ({refused[0]}); nothing is marked as sent back"
        )
    return behind


def _reason(message: Message) -> str:
    return dict(message.headers() or []).get("reason", b"").decode("utf-8", "replace") or "unknown"
