"""The topics of one replay via Kafka: its own, made at its beginning and deleted at its end."""

import re
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from pydantic import ValidationError

from dynmm_core.errors import UserError
from flows.kafka.clients import bounds_of, open_admin, open_consumer
from flows.kafka.settings import KafkaSettings
from flows.observe.logs import get_logger
from simulators.sender import told

ANSWER_S = 30.0
_FOR_EVER = str(2**63 - 1)
# Events keep their own times, which may lie decades ago or ahead: neither retention nor the broker's clock may judge them.
_CONFIG = {
    "cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "segment.ms": _FOR_EVER,
    "message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": _FOR_EVER, "max.message.bytes": "8388608",
}  # fmt: skip


class ReplayTopics:
    """The four topics that a replay needs, named after its folder and configuration."""

    def __init__(self, bootstrap: str, properties: Mapping[str, str], out: Path, config_hash: str, partitions: int) -> None:
        prefix = f"dynmm-replay-{re.sub(r'[^A-Za-z0-9._-]', '-', out.resolve().name)[:100]}-{config_hash[:12]}"
        self.partitions = partitions
        try:
            self.settings = KafkaSettings(
                bootstrap=bootstrap, interactions=f"{prefix}-interactions", dead_letters=f"{prefix}-dead-letters",
                late_events=f"{prefix}-late-events", versions=f"{prefix}-versions", properties=dict(properties),
            )  # fmt: skip
        except ValidationError as error:
            first = error.errors()[0]
            option = "--via-kafka" if first["loc"] == ("bootstrap",) else "--property"
            raise UserError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from error

    @property
    def names(self) -> dict[str, int]:
        """Every topic and how many partitions it has."""
        settings = self.settings
        return {settings.interactions: self.partitions, settings.dead_letters: 1, settings.late_events: 1, settings.versions: 1}

    def check(self) -> None:
        """See that the broker answers and that the topics are not there, or empty.

        Raises:
            UserError: no broker answers in time, or a topic of that name is in use.
        """
        admin = _asked_patiently(self.settings)
        for name, partitions in self.names.items():
            found = admin.list_topics(name, timeout=ANSWER_S).topics.get(name)
            if found is None or found.error is not None or not found.partitions:
                continue
            if len(found.partitions) != partitions or any(self._holds(name, partition) for partition in found.partitions):
                raise UserError(
                    f"--via-kafka: topic {name} exists and is not empty, or has not {partitions} partitions; delete it, or name"
                    " another folder with --out"
                )

    def make(self) -> None:
        """Make those that are not there."""
        admin = open_admin(self.settings)
        new = [NewTopic(name, partitions, config=_CONFIG) for name, partitions in self.names.items()]
        for name, made in admin.create_topics(new, operation_timeout=ANSWER_S, request_timeout=ANSWER_S).items():
            try:
                made.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise UserError(f"--via-kafka: topic {name} cannot be made ({told(error)})") from error

    def delete(self) -> None:
        """Delete them; what a broker that is away keeps is told and left."""
        admin = open_admin(self.settings)
        for name, deleted in admin.delete_topics(list(self.names), request_timeout=ANSWER_S).items():
            try:
                deleted.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    get_logger().warning("topic_not_deleted", topic=name, error=told(error))

    def ends(self) -> dict[int, int]:
        """The offset behind the newest message of each partition of the interactions."""
        consumer = open_consumer(self.settings)
        try:
            return {part: bounds_of(consumer, self.settings.interactions, part)[1] for part in range(self.partitions)}
        finally:
            consumer.close()

    def _holds(self, name: str, partition: int) -> bool:
        consumer = open_consumer(self.settings)
        try:
            low, high = bounds_of(consumer, name, partition)
            return high > low
        finally:
            consumer.close()


def _asked_patiently(settings: KafkaSettings) -> AdminClient:
    try:
        admin = open_admin(settings)
    except KafkaException as error:
        raise UserError(f"--property: {told(error)}") from error
    except ValueError as error:
        raise UserError(str(error)) from error
    try:
        admin.list_topics(timeout=ANSWER_S)
    except KafkaException as error:
        raise UserError(
            f"--via-kafka: no broker answers at {settings.bootstrap} within {ANSWER_S:.0f} s ({told(error)});"
            " check the address and the security"
        ) from error
    return admin
