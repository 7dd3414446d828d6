"""One process's side of a run: the first failure, and what its sinks have collected.

An exception that leaves a keyed step unwinds through the engine, which drops its queues while it panics and may abort the whole
process, so that nobody learns the reason. Hence no step lets one out: the failure is noted here, every step goes quiet, and the
source, the one place where the engine can be stopped cleanly, aborts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from dynmm_core.memory import peak_rss_mb
from flows.accounts import Accounting, Ledger, LedgerPart

Value = TypeVar("Value")
Result = TypeVar("Result")


class Report(Protocol):
    """What the flow reads of an engine's slide report."""

    slide_end_ms: int
    version: int
    content_hash: str
    events: int
    absorbed: bool
    update_rejected: bool
    context_known: Mapping[str, float]
    drift_signals: Mapping[str, float]
    drift_alarms: Sequence[Any]


class Progress(BaseModel):
    """What adapt has done: slides and events it was given, how many slides the store already had, and its last version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slides: int = 0
    events: int = 0
    absorbed: int = 0
    rejected: int = 0
    version: int | None = None
    content_hash: str | None = None
    slide_end_ms: int | None = None

    def after(self, report: Report) -> "Progress":
        """The same with one more slide."""
        return Progress(
            slides=self.slides + 1,
            events=self.events + report.events,
            absorbed=self.absorbed + report.absorbed,
            rejected=self.rejected + report.update_rejected,
            version=report.version,
            content_hash=report.content_hash,
            slide_end_ms=report.slide_end_ms,
        )


class FlowProcess:
    """State that the steps of one process share. ``on_failure`` is called with the first failure, before anything stops.

    ``stopping``: sources end where they are; what is read but in no closed slide stays pending.
    """

    def __init__(self, number: int = 0, on_failure: Callable[[BaseException], None] | None = None) -> None:
        self.number = number
        self.failure: BaseException | None = None
        self.stopping = False
        self.ledger = Ledger()
        self.progress = Progress()
        self._on_failure = on_failure
        self._closers: list[Callable[[], None]] = []

    def fail(self, error: BaseException) -> None:
        """Note a failure; only the first counts."""
        if self.failure is None:
            self.failure = error
            if self._on_failure is not None:
                self._on_failure(error)

    def guarded(self, step: Callable[[Value], list[Result]]) -> Callable[[Value], list[Result]]:
        """The step, answering nothing once anything has failed."""

        def run_step(value: Value) -> list[Result]:
            if self.failure is not None:
                return []
            try:
                return step(value)
            except BaseException as error:  # noqa: BLE001 - also an interrupt must not unwind through the engine
                self.fail(error)
                return []

        return run_step

    def note_report(self, keyed: tuple[str, Report]) -> None:
        """Enter one slide's report, as adapt emits it."""
        self.progress = self.progress.after(keyed[1])

    def at_end(self, closer: Callable[[], None]) -> None:
        """Have something closed when this process's part ends, however it ends."""
        self._closers.append(closer)

    def part(self) -> "ProcessPart":
        """This process's contribution to the run."""
        return ProcessPart(ledger=self.ledger.part(), progress=self.progress, peak_rss_mb=peak_rss_mb())

    def close(self) -> None:
        """Close what the steps opened."""
        while self._closers:
            self._closers.pop()()


class ProcessPart(BaseModel):
    """What one process contributed to a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ledger: LedgerPart
    progress: Progress
    peak_rss_mb: float | None

    @property
    def share(self) -> "ProcessShare":
        """What this process had of the run's work."""
        return ProcessShare(
            partitions=self.ledger.partitions, shards=tuple(sorted(self.ledger.shards)), peak_rss_mb=self.peak_rss_mb
        )


class ProcessShare(BaseModel):
    """What one process had of a run: partitions that it read, buckets whose state it held, its peak memory in MB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partitions: tuple[int, ...]
    shards: tuple[str, ...]
    peak_rss_mb: float | None


class FlowResult(BaseModel):
    """What a finished run came to; ``peak_rss_mb`` sums the processes' peaks, None where the system tells none.

    ``processes``: how a run on Kafka was spread over processes, in their order; those of this machine alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accounting: Accounting
    progress: Progress
    seconds: float
    peak_rss_mb: float | None
    processes: tuple[ProcessShare, ...] = ()
