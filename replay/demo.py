"""The demo: simulate, prepare, pretrain, replay, each stage timed, all in one folder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dynmm_core.errors import UserError
from replay.config import ReplayOptions
from replay.runner import Outcome, ReplayRequest, replay_log

DEFAULT_FOLDER = Path("runs/demo")


def demo_folder(asked: Path | None, default: Path = DEFAULT_FOLDER) -> Path:
    """Return the folder of a new demo: the one asked for, or the default, numbered from 2 where that is taken.

    Raises:
        UserError: the folder asked for is taken.
    """
    if asked is not None:
        if _taken(asked):
            raise UserError(f"--out: {asked} exists and is not empty; name another folder, or leave --out out")
        return asked
    number, folder = 1, default
    while _taken(folder):
        number += 1
        folder = default.with_name(f"{default.name}-{number}")
    return folder


def run_demo(out: Path | None, seed: int) -> tuple[Outcome, dict[str, float]]:
    """Run all stages in a new folder; return the outcome and each stage's seconds."""
    from dynmm_core.adapt.pretrain import PretrainSettings, pretrain
    from dynmm_core.datasets.checked import Options
    from dynmm_core.datasets.prepare import prepare_folder
    from dynmm_core.datasets.prepared import PreparedLog
    from simulators.made import write_stream
    from simulators.settings import StreamSettings

    folder = demo_folder(out)
    stages: dict[str, float] = {}
    with _timed(stages, "simulate"):
        write_stream(folder / "stream", StreamSettings(seed=seed))
    with _timed(stages, "prepare"):
        prepare_folder(folder / "stream", folder / "data", Options(name="demo"))
    with _timed(stages, "pretrain"):
        pretrain(PreparedLog.open(folder / "data"), folder / "bundle", PretrainSettings(profile="demo", seed=seed))
    with _timed(stages, "replay"):
        request = ReplayRequest(
            data=folder / "data",
            bundle=folder / "bundle",
            out=folder / "run",
            options=ReplayOptions(seed=seed),
            protocol="demo",
        )
        outcome = replay_log(request)
    return outcome, stages


def _taken(folder: Path) -> bool:
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


@contextmanager
def _timed(stages: dict[str, float], stage: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    stages[stage] = round(time.monotonic() - begun, 1)
