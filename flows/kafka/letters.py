"""Dead letters and late events of one process: with the broker before the clock goes on that they lie behind."""

from dynmm_core.windows.intake import Taken
from flows.kafka.process import LiveProcess
from flows.kafka.settings import KafkaSettings
from flows.kafka.sinks import TopicWriter
from flows.kafka.wire import dead_record, late_record


class Letters:
    """Writes the letters of what was taken in; when it returns from an item that moves the clock, the broker has them.

    A slide can only be marked as sent behind such an item: no crash finds a letter counted and not written. Some are written
    twice, under one key.
    """

    def __init__(self, settings: KafkaSettings, process: LiveProcess) -> None:
        self._settings, self._process = settings, process
        self._writers: dict[str, TopicWriter] = {}

    def write(self, taken: Taken) -> None:
        """Write the letters of one run of messages."""
        for dead in taken.dead:
            self._writer(self._settings.dead_letters).write(dead_record(dead))
        for late in taken.late:
            self._writer(self._settings.late_events).write(late_record(late))
        if taken.closed_through_ms is not None:
            self.flush()

    def flush(self) -> None:
        """Wait until the broker has every letter."""
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, topic: str) -> TopicWriter:
        if topic not in self._writers:
            self._writers[topic] = TopicWriter(self._settings, topic, self._process)
        return self._writers[topic]
