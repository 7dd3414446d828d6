"""The broker of a run: started for it, filled with its events, stopped behind it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from dynmm_core.errors import UserError
from flows.kafka.settings import KafkaSettings
from flows.kafka.topics import TopicShape, make_topics
from simulators.kafka_output import Format, produce_log

REPOSITORY = Path(__file__).parents[2]
_PROGRAM = REPOSITORY / "tests" / "broker" / "local_broker.py"
_STOP_LIMIT_S = 60.0


@contextmanager
def local_broker(folder: Path) -> Iterator[str]:
    """The address of a broker with its data in the folder.

    Raises:
        UserError: there is no broker to be had here.
    """
    if not _PROGRAM.is_file():
        raise UserError(f"kafka: there is no {_PROGRAM}; run from a checkout, or leave the kafka engines out with --only")
    command = [sys.executable, str(_PROGRAM), "--folder", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    try:
        ready = process.stdout.readline()
        if not ready:
            raise UserError(f"kafka: no broker could be started: {process.stderr.read().strip()[-2000:]}")
        yield json.loads(ready)["bootstrap"]
    finally:
        process.stdin.close()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()
        process.stderr.close()


def fill_topic(bootstrap: str, topic: str, events: pa.Table, partitions: int, form: Format) -> None:
    """Make the topic and send it the events."""
    make_topics(KafkaSettings(bootstrap=bootstrap, interactions=topic), [TopicShape(topic, partitions, -1)], 1)
    produce_log(events, bootstrap, topic, format=form)
