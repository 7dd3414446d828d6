"""What a live run was begun with, beside its store: enough to replay it from a log."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.errors import UserError
from dynmm_core.store.durable import sync, write_whole
from dynmm_core.store.latents import LatentStore
from flows.live.config import LiveConfig, StreamSettings

RECORD_FILE = "live.json"


class LiveRecord(BaseModel):
    """The content of ``live.json``: the stream's settings and the learner's, as the run was begun with them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    flow: str
    stream: StreamSettings
    adapt: AdaptSettings


def record_run(config: LiveConfig) -> None:
    """Write the record of a run that learns into its folder; one whose store has versions keeps the record it has.

    A run without a journal is not gone on with from its folder, and whoever runs it keeps a record of their own.
    """
    if config.adapt is None or not config.adapt.journal:
        return
    run_dir = config.adapt.run_dir
    if (run_dir / RECORD_FILE).is_file() and _has_versions(run_dir):
        return
    adapt = config.adapt.model_copy(update={"bundle": config.adapt.bundle.resolve(), "run_dir": run_dir.resolve()})
    record = LiveRecord(flow=config.kind, stream=config.stream, adapt=adapt)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_whole(run_dir / RECORD_FILE, record.model_dump_json(indent=2).encode() + b"\n")
    sync(run_dir)


def read_record(run_dir: Path) -> LiveRecord:
    """Read the record of the live run in that folder.

    Raises:
        UserError: there is none, or it was written by another release.
    """
    file = run_dir / RECORD_FILE
    try:
        return LiveRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: is not there, so that {run_dir} is no live run; name the --out of a `dynmm flow run`") from None
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is no record of this version of dynmm; use the version that began the run") from error


def _has_versions(run_dir: Path) -> bool:
    if not (run_dir / "store" / "latents" / "_delta_log").is_dir():
        return False
    return LatentStore.open(run_dir / "store").head() is not None
