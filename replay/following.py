"""The progress of a replay via Kafka, from the announcements of its versions."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import orjson
from confluent_kafka import TopicPartition

from dynmm_core.console import Bar, progress
from dynmm_core.datasets.prepared import PreparedLog
from flows.kafka.clients import open_consumer
from flows.kafka.settings import KafkaSettings

_CALL_S = 0.2


@contextmanager
def following(settings: KafkaSettings, log: PreparedLog, rows: tuple[int, int], name: str) -> Iterator[None]:
    """Show how far the versions of ``rows`` have come while the block runs; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield
        return
    times = log.read(["event_time_ms"], *rows)["event_time_ms"].to_numpy()
    done = threading.Event()
    with progress(name, len(times)) as bar:
        thread = threading.Thread(target=_follow, args=(settings, times, bar, done), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _follow(settings: KafkaSettings, event_time_ms: np.ndarray, bar: Bar, done: threading.Event) -> None:
    """Advance the bar by the events (n,) of every announced slide."""
    consumer = open_consumer(settings, prefetch_kbytes=1_024)
    consumer.assign([TopicPartition(settings.versions, 0, 0)])
    shown = 0
    try:
        while True:
            ending = done.is_set()
            for message in consumer.consume(100, timeout=_CALL_S):
                if message.error() is not None:
                    continue
                version = orjson.loads(message.value())
                reached = int(np.searchsorted(event_time_ms, version["slide_end_ms"]))
                bar.advance(reached - shown, version=version["version"])
                shown = reached
            if ending:
                return
    finally:
        consumer.close()
