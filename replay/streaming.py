"""The replay's one call into the dataflows."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.errors import UserError
from dynmm_core.memory import own_peak_mb, reset_peak
from flows.config import FlowConfig
from flows.run import run_embedded
from replay.config import one_line
from replay.run_folder import RunFolder


class Workers(BaseModel):
    """How a replay's work is spread: processes, parts the log is read in, rows per item. Changes no result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: int = Field(default=1, ge=1, le=64)
    partitions: int = Field(default=1, ge=1, le=256)
    batch_size: int = Field(default=10_000, ge=1)

    @classmethod
    def of(cls, **given: int) -> "Workers":
        """Return what the command line asks for.

        Raises:
            UserError: a number is out of its range.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            raise UserError(one_line(error, given)) from error


def stream(run: RunFolder, data: Path, bundle: Path, workers: Workers) -> float:
    """Drive the run's log through the dataflows into its store; return the peak memory of all processes in MiB."""
    # What this process held before, such as a training's tensors, is no cost of the replay.
    reset_peak()
    result = run_embedded(flow_config(run, data, bundle, workers), workers.processes)
    # One process's figure contains the flow's; a cluster's workers come on top of this process.
    spread = result.peak_rss_mb or 0.0 if workers.processes > 1 else 0.0
    return own_peak_mb() + spread


def flow_config(run: RunFolder, data: Path, bundle: Path, workers: Workers) -> FlowConfig:
    """Return what the dataflows need of a run's settings."""
    settings = run.record.config
    shared = settings.model_dump(include=set(AdaptSettings.model_fields) & set(type(settings).model_fields))
    adapt = AdaptSettings(bundle=bundle, run_dir=run.path, config_hash=run.record.config_hash, **shared)
    return FlowConfig(
        data=data,
        run_dir=run.path,
        adapt=adapt,
        run_name=settings.run_name,
        start_row=settings.cut_row,
        end_time_ms=settings.end_time_ms,
        slide_ms=settings.slide_ms,
        allowed_lateness_ms=settings.allowed_lateness_ms,
        max_train_events=settings.max_train_events,
        partitions=workers.partitions,
        batch_size=workers.batch_size,
        progress=True,
    )
