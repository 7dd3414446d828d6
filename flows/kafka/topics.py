"""The topics of a run: made as the flows need them, and checked where they exist."""

from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType
from confluent_kafka.admin import NewTopic as NewKafkaTopic

from dynmm_core.errors import UserError
from dynmm_core.events.wire import MAX_ARROW_BYTES
from flows.kafka.clients import open_admin, patiently
from flows.kafka.settings import KafkaSettings

_ASK_SECONDS = 30.0
_REACH_SECONDS = 12.0  # whoever gives a command that ends wants to hear soon that nobody answers
_BATCH_BYTES = 1 << 16  # a broker judges a message with its key, its headers and the batch around it


@dataclass(frozen=True)
class TopicShape:
    """What a topic is to be; ``retention_ms`` -1 keeps everything, ``max_message_bytes`` None leaves that to the broker."""

    name: str
    partitions: int
    retention_ms: int
    cleanup_policy: str = "delete"
    max_message_bytes: int | None = None


@dataclass(frozen=True)
class TopicState:
    """What a topic is: made now, or there already."""

    shape: TopicShape
    made: bool


def shapes(settings: KafkaSettings, partitions: int, retention_ms: int, summaries_retention_ms: int) -> list[TopicShape]:
    """The five topics: interactions in so many partitions, with messages of any size that a flow reads.

    The summaries are never compacted and outlive every rollback.
    """
    return [
        TopicShape(settings.interactions, partitions, retention_ms, max_message_bytes=MAX_ARROW_BYTES + _BATCH_BYTES),
        TopicShape(settings.summaries, 1, summaries_retention_ms),
        TopicShape(settings.dead_letters, 1, summaries_retention_ms),
        TopicShape(settings.late_events, 1, summaries_retention_ms),
        TopicShape(settings.versions, 1, summaries_retention_ms),
    ]


def make_topics(
    settings: KafkaSettings, wanted: list[TopicShape], replication: int, longest_s: float = 120.0
) -> list[TopicState]:
    """Make the topics that are not there; one that is there must fit.

    Raises:
        UserError: no broker answers; a topic exists with fewer partitions or another cleanup policy; the broker refuses.
    """
    reach = f"topics at {settings.bootstrap}"
    patiently(reach, lambda: open_admin(settings).list_topics(timeout=_REACH_SECONDS / 4), longest_s=_REACH_SECONDS)
    return patiently("topics", lambda: [_make(settings, shape, replication) for shape in wanted], longest_s=longest_s)


def _make(settings: KafkaSettings, shape: TopicShape, replication: int) -> TopicState:
    admin = open_admin(settings)
    config = {"cleanup.policy": shape.cleanup_policy, "retention.ms": str(shape.retention_ms)}
    if shape.max_message_bytes is not None:
        config["max.message.bytes"] = str(shape.max_message_bytes)
    new = NewKafkaTopic(shape.name, shape.partitions, replication, config=config)
    try:
        admin.create_topics([new], operation_timeout=_ASK_SECONDS, request_timeout=_ASK_SECONDS)[shape.name].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        return _existing(settings, shape)
    return TopicState(shape, made=True)


def _existing(settings: KafkaSettings, shape: TopicShape) -> TopicState:
    admin = open_admin(settings)
    partitions = len(admin.list_topics(shape.name, timeout=_ASK_SECONDS).topics[shape.name].partitions)
    resource = ConfigResource(ResourceType.TOPIC, shape.name)
    found = admin.describe_configs([resource], request_timeout=_ASK_SECONDS)[resource].result()
    policy = found["cleanup.policy"].value
    if policy != shape.cleanup_policy:
        raise UserError(
            f"topic: {shape.name} has cleanup.policy={policy}, and must have {shape.cleanup_policy}; change it, or name another"
        )
    if partitions < shape.partitions:
        raise UserError(
            f"partitions: {shape.name} has {partitions}, not {shape.partitions}; ask for {partitions}, or name another topic"
        )
    return TopicState(TopicShape(shape.name, partitions, int(found["retention.ms"].value), policy), made=False)
