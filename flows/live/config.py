"""What a dataflow on Kafka is told, as JSON between processes."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.windows.horizons import PANE_MS
from dynmm_core.windows.pairs import PairSettings
from dynmm_core.windows.partition import ReadSettings
from dynmm_core.windows.shard import ShardSettings
from flows.config import ENGINE
from flows.kafka.settings import KafkaSettings

FlowKind = Literal["summarize", "adapt", "all"]


class StreamSettings(BaseModel):
    """What decides a run's slides; times in ms. A run keeps these for ever: with others it is another run.

    ``start``: where the topic is begun, "earliest", "latest" or a moment in ms. ``idle_after_ms`` None waits for a silent
    partition as long as it takes; ``max_train_events`` None ships every event to adapt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = Field(default="live", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    slide_ms: int = Field(default=900_000, ge=PANE_MS, le=86_400_000)
    allowed_lateness_ms: int = Field(default=60_000, ge=0)
    max_skew_ms: int | None = Field(default=3_600_000, ge=0)
    idle_after_ms: int | None = Field(default=300_000, ge=1_000)
    max_train_events: int | None = Field(default=50_000, ge=1)
    pairs: bool = True
    start: Literal["earliest", "latest"] | int = "latest"

    @field_validator("slide_ms")
    @classmethod
    def _whole_panes(cls, slide_ms: int) -> int:
        if slide_ms % PANE_MS:
            raise ValueError(f"{slide_ms} ms is no multiple of {PANE_MS} ms, the pane; give such as 5m, 15m or 1h")
        return slide_ms

    @property
    def reading(self) -> ReadSettings:
        """The part that the readers of partitions need."""
        return ReadSettings(self.slide_ms, self.allowed_lateness_ms, self.max_skew_ms)

    @property
    def shards(self) -> ShardSettings:
        """The part that the buckets need."""
        return ShardSettings(self.slide_ms, self.max_train_events, PairSettings() if self.pairs else None)


class ObserveSettings(BaseModel):
    """Where metrics and health are served; ``port`` None serves nothing. A process adds its number to the port.

    ``stalled_after_ms``: after how long without progress a process that has work before it is ill; None is never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=1, le=65_000)
    stalled_after_ms: int | None = Field(default=900_000, ge=1_000)


class LiveConfig(BaseModel):
    """One dataflow on Kafka. ``recovery`` is the folder of what summarize carries; ``drain`` ends at the newest message.

    ``adapt`` is there unless the flow is summarize alone. ``batch_size`` and ``epoch_ms`` change no slide.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FlowKind
    kafka: KafkaSettings
    stream: StreamSettings = StreamSettings()
    recovery: Path
    adapt: AdaptSettings | None = None
    engine: str = ENGINE
    batch_size: int = Field(default=16_384, ge=1)
    epoch_ms: int = Field(default=1_000, ge=1)
    drain: bool = False
    observe: ObserveSettings = ObserveSettings()

    @model_validator(mode="after")
    def _agree_with_adapt(self) -> "LiveConfig":
        if self.kind == "summarize":
            return self
        if self.adapt is None:
            raise ValueError(f"adapt: {self.kind} learns, and needs --bundle and --out")
        if self.adapt.slide_ms != self.stream.slide_ms:
            raise ValueError(f"slide: {self.stream.slide_ms} ms but adapt has {self.adapt.slide_ms}; give both the same")
        return self
