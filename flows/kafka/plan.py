"""Where a dataflow on Kafka goes on: read points and recorded cuts for summarize, offsets of summaries for adapt."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from dynmm_core.windows.clock import DRAINED_MS, NEVER_MS
from dynmm_core.windows.partition import PartitionReader, ReadSettings
from dynmm_core.windows.progress import IdleCut, ReadPoint, RunProgress


class ReadPlan(BaseModel):
    """How the interactions topic is read: a point per partition, cuts to be met, and the progress to go on behind.

    ``points`` by partition and ``cuts`` as their JSON; ``ends`` by partition where the flow is to drain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: dict[int, list[int]]
    cuts: list[tuple[int, int, int]] = []
    resumed: dict[str, Any] | None = None
    ends: dict[int, int] | None = None

    @property
    def partitions(self) -> list[int]:
        """The partitions of the topic."""
        return sorted(self.points)

    @property
    def progress(self) -> RunProgress | None:
        """The progress to go on behind; None at the beginning of a run."""
        return None if self.resumed is None else RunProgress.from_json(self.resumed)

    @property
    def drained(self) -> bool:
        """Whether every partition has ended before this start."""
        return {cut[0] for cut in self.cuts if cut[2] == DRAINED_MS} >= set(self.points)

    def reader(self, topic: str, partition: int, settings: ReadSettings) -> PartitionReader:
        """The reader of one partition, at its point."""
        through_ms = NEVER_MS if self.resumed is None else self.resumed["through_ms"]
        point = ReadPoint.from_json(partition, self.points[partition])
        return PartitionReader(topic, point, settings, through_ms, [IdleCut(*cut) for cut in self.cuts])


class SummariesPlan(BaseModel):
    """How the summaries topic is read: the next offset per partition, and the input's progress behind the store's head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    offsets: dict[int, int]
    resumed: dict[str, Any] | None = None

    @property
    def progress(self) -> RunProgress | None:
        """The progress behind the head; None for an empty store."""
        return None if self.resumed is None else RunProgress.from_json(self.resumed)


class FlowPlan(BaseModel):
    """Where every part of one dataflow goes on; made once, before any process starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interactions: ReadPlan | None = None
    summaries: SummariesPlan | None = None
    summaries_partitions: int = 1
    topic_ids: dict[str, str] = {}
