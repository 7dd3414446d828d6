"""The events of one run, laid out in the forms that its engines read, for as long as it lasts."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from benchmarks.stream.broker import fill_topic, local_broker
from benchmarks.stream.cells import reference_cells
from benchmarks.stream.engines import Engine
from benchmarks.stream.events import (
    LATENESS_MS,
    SLIDE_MS,
    WINDOW_MS,
    EventPlan,
    density_of,
    make_events,
    write_json,
    write_parquet,
)
from simulators.kafka_output import Format

# A small heap and the serial collector: much less memory than by default, for as many CPU seconds.
_JAVA_OPTIONS = "-Xmx512m -XX:+UseSerialGC"


class Inputs:
    """Files, topics and the true cells of every prefix, made when first asked for; all of it goes at the end."""

    def __init__(self, plan: EventPlan, work: Path, partitions: int, bootstrap: str | None = None) -> None:
        self.plan, self.partitions = plan, partitions
        self._work = work
        self._bootstrap = bootstrap
        self._topics: set[str] = set()
        self._stack = ExitStack()
        self._jobs = 0

    def __enter__(self) -> Self:
        self._work.mkdir(parents=True, exist_ok=True)
        self.folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="run-", dir=self._work))).resolve()
        self.table: pa.Table = make_events(self.plan)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def density(self) -> float:
        """Events per event-second."""
        return density_of(self.table)

    def events_of(self, engine: Engine) -> int:
        """How many events the engine is given."""
        return min(self.plan.events, engine.most_events or self.plan.events)

    def job(self, engine: Engine, events: int | None = None, partitions: int | None = None) -> dict[str, Any]:
        """Everything that the engine's program is told; its folder is new. By default all the events that it is given."""
        self._jobs += 1
        folder = self.folder / f"job-{self._jobs:04}"
        folder.mkdir()
        events, partitions = events or self.events_of(engine), partitions or self.partitions
        kafka = engine.source == "kafka"
        job = {
            "source": engine.source, "events": events, "folder": str(folder), "run": f"{self.folder.name}-{folder.name}",
            "cells": str(folder / engine.cells),
            "window_ms": WINDOW_MS, "slide_ms": SLIDE_MS, "lateness_ms": LATENESS_MS, "java_options": _JAVA_OPTIONS,
            "partitions": partitions if kafka else 1,
        }  # fmt: skip
        if kafka:
            assert engine.form is not None
            return {**job, "topic": self._topic(engine.form, events, partitions), "bootstrap": self.bootstrap}
        if engine.needs_broker:
            job["bootstrap"] = self.bootstrap
        suffix = ".jsonl" if engine.source == "json" else ".parquet"
        return {**job, "path": str(self._file(events, suffix))}

    def reference(self, events: int) -> Path:
        """The true cells of the first so many events."""
        path = self.folder / f"reference-{events}.parquet"
        if not path.exists():
            reference_cells(self._file(events, ".parquet"), path)
        return path

    @property
    def bootstrap(self) -> str:
        """The broker, which starts here."""
        if self._bootstrap is None:
            self._bootstrap = self._stack.enter_context(local_broker(self.folder / "broker"))
        return self._bootstrap

    def _file(self, events: int, suffix: str) -> Path:
        path = self.folder / f"events-{events}{suffix}"
        if not path.exists():
            (write_json if suffix == ".jsonl" else write_parquet)(self.table.slice(0, events), path)
        return path

    def _topic(self, form: Format, events: int, partitions: int) -> str:
        topic = f"{self.folder.name}-{form}-{events}-{partitions}"
        if topic not in self._topics:
            fill_topic(self.bootstrap, topic, self.table.slice(0, events), partitions, form)
            self._topics.add(topic)
        return topic
