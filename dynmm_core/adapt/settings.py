"""The resolved settings of one run's adapt state machine."""

from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from dynmm_core.adapt.loop_settings import DAY_OLD_MODEL, HEAD_MODEL
from dynmm_core.metrics.drift.detectors import DETECTORS, DetectorName
from dynmm_core.model.online import OnlineOptions
from dynmm_core.names import DeviceName
from dynmm_core.times import DAY_MS

ModelName = Literal[
    "static", "window_popularity", "decayed_popularity", "sequential_rule", "session_knn", "item_knn", "switch",
    "fine_tune", "periodic_retrain", "lightgcn", "adapted_latents", "adapted_day_old", "adapted",
]  # fmt: skip
MODELS: tuple[ModelName, ...] = get_args(ModelName)
COSTLY_MODELS: tuple[ModelName, ...] = ("fine_tune", "periodic_retrain", "lightgcn")
DEFAULT_MODELS: tuple[ModelName, ...] = tuple(name for name in MODELS if name not in (*COSTLY_MODELS, DAY_OLD_MODEL))
LIVE_MODELS: tuple[ModelName, ...] = ("static", "window_popularity", "adapted")


class AdaptSettings(BaseModel):
    """What a run needs to rank, learn and commit; serialisable, so that every process builds the same.

    Times in ms. rank_from_ms, rank_to_ms bound the ranked events (None: no bound); events outside are learned from.
    popularity_window_ms, adapter_lr: None takes the bundle's choice. store_every: every so many versions keep their rows.
    summaries: False hides s_new from the adapter, items and users alike. online: how the adapter learns.

    Of no influence on any version's content: journal keeps the slides beside the store, so that a restart needs no log;
    rollback_versions is how many of the newest versions keep the trainer state that a rollback to them needs; detectors look
    for drift, none of them where it is empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Path
    run_dir: Path
    config_hash: str
    run_name: str = "replay"
    seed: int = Field(0, ge=0, lt=2**31)
    models: tuple[ModelName, ...] = LIVE_MODELS
    history: Literal["event", "version"] = "event"
    publish_delay_ms: int = Field(0, ge=0, le=86_400_000)
    slide_ms: int = Field(3_600_000, ge=300_000, le=86_400_000)
    rank_from_ms: int | None = None
    rank_to_ms: int | None = None
    popularity_window_ms: int | None = None
    store_every: int = Field(24, ge=1)
    keep_consumed: bool = False
    device: DeviceName = "cpu"
    threads: int = Field(2, ge=1, le=1_024)
    summaries: bool = True
    adapter_lr: float | None = Field(None, ge=0.0, le=1.0, allow_inf_nan=False)
    online: OnlineOptions = OnlineOptions()
    journal: bool = False
    rollback_versions: int = Field(200, ge=1)
    detectors: tuple[DetectorName, ...] = DETECTORS

    @property
    def first_seen_within_ms(self) -> int:
        """How long after its slide's end a version is first seen by the last of the models that see it."""
        return self.publish_delay_ms + (DAY_MS if DAY_OLD_MODEL in self.models else 0)

    @property
    def served(self) -> str:
        """The model whose ranking counts as the live one: the adapted model, or the last of those that rank."""
        return HEAD_MODEL if HEAD_MODEL in self.models else self.models[-1]
