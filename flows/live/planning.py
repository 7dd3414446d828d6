"""Makes the plan of a dataflow: looks at the topics, the recovery folder and the store, before any process starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicCollection, TopicPartition

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.errors import UserError
from dynmm_core.store.latents import LatentStore
from dynmm_core.store.version import Version
from dynmm_core.windows.buckets import BUCKET_KEYS
from dynmm_core.windows.clock import DRAINED_MS
from dynmm_core.windows.progress import IdleCut, ReadPoint, RunProgress, start_point
from dynmm_core.windows.resume import cuts_without_progress, resume
from flows.kafka.clients import bounds_of, open_admin, open_consumer, partitions_of, patiently
from flows.kafka.plan import FlowPlan, ReadPlan, SummariesPlan
from flows.kafka.settings import KafkaSettings
from flows.kafka.summaries import newest_markers
from flows.live.config import LiveConfig
from flows.live.record import read_record
from flows.live.recovery import RecoveryFolder

_ASK_SECONDS = 10.0
_CAUSES = ("slide_ms", "seed", "history", "device", "threads", "publish_delay_ms", "popularity_window_ms")


class RunEnded(UserError):
    """The run was drained to its end; there is nothing left to do for it."""


def run_ended(config: LiveConfig) -> RunEnded:
    """What to tell whoever starts a drained run again."""
    out = "" if config.adapt is None else ", another --out"
    return RunEnded(f"run: {config.stream.run} was drained to its end; begin another with --run NAME{out} and --recovery FOLDER")


def make_plan(config: LiveConfig, stopping: Callable[[], bool], on_wait: Callable[[str], None] = lambda reason: None) -> FlowPlan:
    """Where the flow goes on; waits for the broker as long as it is away, telling ``on_wait`` why.

    Raises:
        UserError: topics are missing, or no longer hold what the run needs; the recovery folder belongs to another run.
    """
    return patiently("plan", lambda: _plan(config), stopping, on_wait=on_wait)


def _plan(config: LiveConfig) -> FlowPlan:
    consumer = open_consumer(config.kafka)
    try:
        topics = [config.kafka.interactions] if config.kind != "adapt" else []
        topics += [config.kafka.summaries] if config.kind != "all" else []
        partitions = {topic: partitions_of(consumer, topic) for topic in topics}
        ids = _topic_ids(config.kafka, topics)
        head = _head_resume(config)
        _check_topics(ids, (head or {}).get("topic_ids", {}))
        if config.kind == "adapt":
            return FlowPlan(summaries=_summaries(config, consumer, partitions, head), topic_ids=ids)
        folder = RecoveryFolder(config.recovery)
        _check_topics(ids, folder.topic_ids)
        facts = folder.begin(_facts(config, ids, consumer, partitions[config.kafka.interactions]))
        starts = {int(partition): offset for partition, offset in facts["starts"].items()}
        if config.kind == "all":
            progress = None if head is None else RunProgress.from_json(head["interactions"])
            told = () if progress is None else progress.cuts
        else:
            progress, told = _from_markers(config, consumer, partitions[config.kafka.summaries])
        plan = _reading(config, consumer, partitions[config.kafka.interactions], starts, progress, told)
        return FlowPlan(
            interactions=plan, topic_ids=ids, summaries_partitions=len(partitions.get(config.kafka.summaries, [0]))
        )  # fmt: skip
    finally:
        consumer.close()


def _facts(config: LiveConfig, ids: dict[str, str], consumer: Consumer, partitions: list[int]) -> dict[str, Any]:
    """What a run is begun with, and may not change."""
    stream = config.stream.model_dump(exclude={"start", "idle_after_ms"})
    starts = {str(partition): _start(config, consumer, partition) for partition in partitions}
    return {"flow": config.kind, **stream, "topic_ids": ids, "starts": starts}


def _start(config: LiveConfig, consumer: Consumer, partition: int) -> int:
    topic, start = config.kafka.interactions, config.stream.start
    low, high = bounds_of(consumer, topic, partition)
    if start == "earliest":
        return low
    if start == "latest":
        return high
    found = consumer.offsets_for_times([TopicPartition(topic, partition, start)], timeout=_ASK_SECONDS)[0].offset
    return high if found < 0 else int(found)


def _head_resume(config: LiveConfig) -> dict[str, Any] | None:
    """What the version of the last slide taken in says about going on; None for a store that is empty or not there."""
    if config.adapt is None or not (config.adapt.run_dir / "store" / "latents" / "_delta_log").is_dir():
        return None
    store = LatentStore.open(config.adapt.run_dir / "store")
    head = store.newest_slide()
    if head is None:
        return None
    _check_store(config.adapt, store.log()[0])
    found: dict[str, Any] | None = head.metrics.get("resume")
    if found is None or (config.kind == "adapt") != ("summaries" in found):
        writer = "a dataflow on Kafka" if found is None else f"flow run {config.kind}"
        raise UserError(f"store: {config.adapt.run_dir} was not written by {writer}; give --out another folder")
    return found


def _check_store(adapt: AdaptSettings, first: Version) -> None:
    """Refuse a store that another run, or one with other settings, has begun; a rollback renames the run of later versions."""
    if first.run != adapt.run_name:
        raise UserError(
            f"run: the store in {adapt.run_dir} belongs to run {first.run}, not {adapt.run_name};"
            f" give --run {first.run}, or --out another folder"
        )
    if first.config_hash != adapt.config_hash:
        raise UserError(
            f"config_hash: the store in {adapt.run_dir} was begun with {_told_apart(adapt, first)};"
            " give the same again, or another --out, --run and --recovery"
        )


def _told_apart(adapt: AdaptSettings, first: Version) -> str:
    """What is other than it was, as far as the run's record tells."""
    from dynmm_core.model.bundle import Bundle  # it loads what learns

    if first.base_hash != (given := Bundle.load(adapt.bundle).hash):
        return f"bundle {first.base_hash[:12]}, not {given[:12]}"
    known = _begun_with(adapt.run_dir)
    other = [name for name in _CAUSES if known.get(name, getattr(adapt, name)) != getattr(adapt, name)]
    return ", ".join(f"{name} {known[name]!r}, not {getattr(adapt, name)!r}" for name in other) or "other settings"


def _begun_with(run_dir: Path) -> dict[str, Any]:
    try:
        return read_record(run_dir).adapt.model_dump()
    except UserError:
        return {}


def _summaries(
    config: LiveConfig, consumer: Consumer, partitions: dict[str, list[int]], head: dict[str, Any] | None
) -> SummariesPlan:
    topic = config.kafka.summaries
    known = {} if head is None else {int(partition): offset for partition, offset in head["summaries"].items()}
    offsets = {}
    for partition in partitions[topic]:
        low, high = bounds_of(consumer, topic, partition)
        offsets[partition] = known.get(partition, low)
        if not low <= offsets[partition] <= high:
            raise UserError(
                f"offset: {topic}/{partition} holds offsets {low} to {high}, the store's head goes on at {offsets[partition]};"
                " summaries are lost to this run: begin another with --run NAME and another --out"
            )
    return SummariesPlan(offsets=offsets, resumed=None if head is None else head["interactions"])


def _from_markers(
    config: LiveConfig, consumer: Consumer, partitions: list[int]
) -> tuple[RunProgress | None, tuple[IdleCut, ...]]:
    stream = config.stream
    markers = newest_markers(consumer, config.kafka.summaries, partitions, stream.run, stream.slide_ms, BUCKET_KEYS)
    found = resume(markers, BUCKET_KEYS)
    if found is None:
        return None, cuts_without_progress(markers)
    if found.drained:
        raise run_ended(config)
    return found.progress, found.cuts


def _reading(
    config: LiveConfig, consumer: Consumer, partitions: list[int], starts: dict[int, int],
    progress: RunProgress | None, told: tuple[IdleCut, ...],
) -> ReadPlan:  # fmt: skip
    topic = config.kafka.interactions
    points: dict[int, ReadPoint] = {}
    cuts = list(told)
    for partition in partitions:
        low, high = bounds_of(consumer, topic, partition)
        point = None if progress is None else progress.points.get(partition)
        if point is None:
            point = start_point(partition, starts.get(partition, low))
            if progress is not None and partition not in starts and not any(cut.partition == partition for cut in told):
                # A partition that came after the run began: what it holds of slides sent is late.
                cuts.append(IdleCut(partition, point.offset, progress.through_ms))
        if not low <= point.offset <= high:
            raise UserError(
                f"offset: {topic}/{partition} holds offsets {low} to {high}, run {config.stream.run} goes on at {point.offset};"
                " its events are lost to this run: begin another with --run NAME, and raise the topic's retention"
            )
        points[partition] = ReadPoint(point.offset, max(point.memory_offset, low), point.newest_ms, point.floor_ms, point.tally)
    drained = {cut.partition for cut in cuts if cut.closed_through_ms == DRAINED_MS}
    # A drain that was cut off goes on as one: some partitions have ended for good, and the others would wait for them.
    draining = config.drain or bool(drained)
    ends = {p: bounds_of(consumer, topic, p)[1] for p in partitions if p not in drained} if draining else None
    return ReadPlan(
        points={partition: point.to_json() for partition, point in points.items()},
        cuts=[(cut.partition, cut.offset, cut.closed_through_ms) for cut in cuts],
        resumed=None if progress is None else progress.to_json(),
        ends=ends,
    )


def _topic_ids(settings: KafkaSettings, topics: list[str]) -> dict[str, str]:
    admin = open_admin(settings)  # kept: its end would be the end of the answers
    found = admin.describe_topics(TopicCollection(topics), request_timeout=_ASK_SECONDS)
    return {topic: str(future.result().topic_id) for topic, future in found.items()}


def _check_topics(ids: dict[str, str], known: dict[str, str]) -> None:
    for topic, topic_id in ids.items():
        if known.get(topic, topic_id) != topic_id:
            raise UserError(
                f"topic: {topic} was deleted and created again since this run began: its offsets mean something else now;"
                " begin another run with --run NAME, another --out and another --recovery"
            )
