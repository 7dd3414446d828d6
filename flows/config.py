"""What one run of the embedded dataflow needs, as JSON between processes."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.windows.horizons import PANE_MS

ENGINE = "dynmm_core.adapt.engine:open_engine"


class FlowConfig(BaseModel):
    """A bounded replay of a prepared log through summarize and adapt. Times in ms UTC.

    Rows from ``start_row`` on with event time before ``end_time_ms`` (exclusive, None: to the end) are read in items of at most
    ``batch_size`` rows. ``columns`` None carries every column of the log. ``max_skew_ms`` None checks no skew. ``engine`` is an
    import string ``module:function``, called with ``adapt`` in the process that hosts adapt. Slides of more than
    ``max_train_events`` events are sampled. Neither ``batch_size`` nor ``partitions`` of a sorted log nor ``epoch_ms`` changes
    a slide.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    run_dir: Path
    adapt: AdaptSettings
    run_name: str = "replay"
    start_row: int = Field(default=0, ge=0)
    end_time_ms: int | None = None
    partitions: int = Field(default=1, ge=1, le=256)
    batch_size: int = Field(default=10_000, ge=1)
    slide_ms: int = Field(default=3_600_000, ge=PANE_MS, le=86_400_000)
    allowed_lateness_ms: int = Field(default=0, ge=0)
    max_skew_ms: int | None = Field(default=None, ge=0)
    max_train_events: int | None = Field(default=None, ge=1)
    columns: tuple[str, ...] | None = None
    engine: str = ENGINE
    epoch_ms: int = Field(default=500, ge=1)
    progress: bool = False

    @field_validator("slide_ms")
    @classmethod
    def _whole_panes(cls, slide_ms: int) -> int:
        if slide_ms % PANE_MS:
            raise ValueError(f"{slide_ms} is no multiple of {PANE_MS} ms, the pane")
        return slide_ms

    @model_validator(mode="after")
    def _agree_with_adapt(self) -> "FlowConfig":
        for name in ("slide_ms", "run_name", "run_dir"):
            mine, theirs = getattr(self, name), getattr(self.adapt, name)
            if mine != theirs:
                raise ValueError(f"{name}: {mine} but adapt has {theirs}; give both the same")
        return self
