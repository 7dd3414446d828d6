"""Dead letters back into the stream."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from dynmm_core.errors import UserError
from flows.kafka.clients import bounds_of, open_consumer, open_producer, partitions_of, passes, patiently
from flows.kafka.settings import KafkaSettings

_GROUP = "dynmm-redrive"
_CALL_MESSAGES, _CALL_SECONDS, _READ_SECONDS = 500, 0.1, 10.0
_COMMITTED_SECONDS = 10.0
_LONGEST_S = 60.0
_CUT, _AGAIN = "cut where it was kept, not sent back", "written again by a restart, not sent back"


@dataclass
class Redriven:
    """What became of the letters that were looked at: sent back, or passed over; all of them by reason."""

    sent: int = 0
    passed_over: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)


def redrive_letters(settings: KafkaSettings, reason: str | None, limit: int | None, dry_run: bool) -> Redriven:
    """Produce the letters that were not sent back before, byte for byte, to the interactions topic.

    The place up to which letters were looked at moves only when the broker has them all: a second attempt after a crash may
    send some twice, and the flow knows events with an id of their own as duplicates. Letters that come meanwhile wait for the
    next time.

    Raises:
        UserError: ``limit`` is below 1, a topic is missing, or the broker is away or refuses.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit: {limit} is not 1 or more; leave it out to send every letter")
    found = Redriven()
    consumer = patiently("redrive", lambda: open_consumer(settings, group=_GROUP), longest_s=_LONGEST_S)
    try:
        partitions = patiently("redrive", lambda: _look(consumer, settings), longest_s=_LONGEST_S)
        drive = _Drive(settings, consumer, reason, limit, dry_run, found)
        for partition in partitions:
            begun, first, last = patiently("redrive", partial(drive.stretch, partition), longest_s=_LONGEST_S)
            behind = drive.send(partition, first, last)
            if not dry_run and behind > begun:
                place = TopicPartition(settings.dead_letters, partition, behind)
                patiently("redrive", partial(consumer.commit, offsets=[place], asynchronous=False), longest_s=_LONGEST_S)
        return found
    finally:
        consumer.close()


def _look(consumer: Consumer, settings: KafkaSettings) -> list[int]:
    partitions_of(consumer, settings.interactions)  # asked first: with nowhere to send to, nothing is begun
    return partitions_of(consumer, settings.dead_letters)


class _Drive:
    """One pass over the letters."""

    def __init__(
        self, settings: KafkaSettings, consumer: Consumer, reason: str | None, limit: int | None, dry_run: bool, found: Redriven
    ) -> None:  # fmt: skip
        self._settings, self._consumer, self._found = settings, consumer, found
        self._reason, self._limit, self._dry_run = reason, limit, dry_run
        self._refused: list[str] = []
        self._seen: set[bytes] = set()  # a flow that was started again may write a letter twice

    def stretch(self, partition: int) -> tuple[int, int, int]:
        """Where the last pass ended, and the first and next offset of the letters to look at."""
        place = TopicPartition(self._settings.dead_letters, partition)
        low, high = bounds_of(self._consumer, self._settings.dead_letters, partition)
        begun = int(self._consumer.committed([place], timeout=_COMMITTED_SECONDS)[0].offset)
        return begun, max(low, begun), high

    def send(self, partition: int, first: int, last: int) -> int:
        """Send one partition's letters; return the offset behind the last one looked at."""
        if first >= last or self._full:
            return first
        producer = open_producer(self._settings)
        behind = first
        for message in self._letters(partition, first, last):
            why, hindrance = _reason(message), self._hindrance(message)
            wanted = hindrance is None and (self._reason is None or self._reason in why)
            self._found.by_reason[why if hindrance is None else f"{why} ({hindrance})"] += 1
            self._found.sent += wanted
            self._found.passed_over += not wanted
            if wanted and not self._dry_run:
                self._produce(producer, message)
            behind = message.offset() + 1
            if self._full:
                break
        else:
            behind = last
        producer.flush()
        if self._refused:
            raise UserError(
                f"kafka: {self._settings.interactions} refused {len(self._refused)} letters ({self._refused[0]});"
                " nothing is marked as sent back"
            )
        return behind

    def _hindrance(self, message: Message) -> str | None:
        """Why a letter cannot be sent back, or was already."""
        if "raw_bytes" in dict(message.headers() or []):
            return _CUT
        key = message.key() or b""
        if key.count(b"/") < 3:  # an earlier release gave all events of a message this one
            key += hashlib.sha256(message.value() or b"").digest()
        if key in self._seen:
            return _AGAIN
        self._seen.add(key)
        return None

    @property
    def _full(self) -> bool:
        return self._limit is not None and self._found.sent >= self._limit

    def _letters(self, partition: int, first: int, last: int) -> Iterator[Message]:
        topic = self._settings.dead_letters
        self._consumer.assign([TopicPartition(topic, partition, first)])
        heard_at = time.monotonic()
        while time.monotonic() - heard_at < _READ_SECONDS:
            for message in self._consumer.consume(_CALL_MESSAGES, timeout=_CALL_SECONDS):  # waits for that many, or that long
                heard_at = time.monotonic()
                if (error := message.error()) is None:
                    if message.offset() >= last:
                        return
                    yield message
                    if message.offset() == last - 1:
                        return
                elif error.code() == KafkaError._PARTITION_EOF:
                    return
                elif not passes(error):
                    raise UserError(f"kafka: {topic}: {error.str()}; try again") from KafkaException(error)
        raise UserError(f"kafka: {topic}/{partition} is silent behind {first}; try again")

    def _produce(self, producer: Producer, message: Message) -> None:
        while True:
            try:
                producer.produce(
                    self._settings.interactions, message.value(), headers=[("redriven_from", message.key() or b"")],
                    on_delivery=lambda error, _: self._refused.append(error.str()) if error is not None else None,
                )  # fmt: skip
                break
            except BufferError:  # letters can be large: wait until some have left
                producer.poll(0.1)
        producer.poll(0)


def _reason(message: Message) -> str:
    return dict(message.headers() or []).get("reason", b"").decode("utf-8", "replace") or "unknown"
