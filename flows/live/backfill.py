"""A past stretch of the topic as a run of its own."""

from dataclasses import replace

from confluent_kafka import TopicPartition

from dynmm_core.errors import UserError
from flows.kafka.clients import bounds_of, open_consumer, partitions_of, patiently
from flows.kafka.settings import KafkaSettings
from flows.live.options import FlowOptions, resolve
from flows.live.run import run_live
from flows.process import FlowResult

_ASK_SECONDS = 10.0


def run_backfill(options: FlowOptions, from_ms: int, to_ms: int | None) -> FlowResult:
    """Run both flows from ``from_ms`` to before ``to_ms`` (broker's time, ms UTC; None: the newest message of now).

    Raises:
        UserError: the stretch is empty, or the run has no name of its own.
    """
    if to_ms is not None and to_ms <= from_ms:
        raise UserError(f"--to: {to_ms} is not after --from {from_ms}; give a later moment")
    if options.run is None:
        raise UserError("--run: missing; a backfill is a run of its own and needs a name, such as --run backfill-may")
    config = resolve("all", replace(options, start=str(from_ms), idle_after="off"), drain=to_ms is None).config
    if to_ms is None:
        return run_live(config)
    ends = patiently("backfill", lambda: _ends(config.kafka, to_ms), longest_s=60)
    return run_live(config, ends=lambda: ends)


def _ends(settings: KafkaSettings, to_ms: int) -> dict[int, int]:
    consumer = open_consumer(settings)
    try:
        partitions = partitions_of(consumer, settings.interactions)
        places = [TopicPartition(settings.interactions, partition, to_ms) for partition in partitions]
        found = {place.partition: place.offset for place in consumer.offsets_for_times(places, timeout=_ASK_SECONDS)}
        return {
            partition: offset if offset >= 0 else bounds_of(consumer, settings.interactions, partition)[1]
            for partition, offset in found.items()
        }
    finally:
        consumer.close()
