"""A replay's truth: that of its own log, the oracle that follows from it, and the marks of drift that the run keeps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from dynmm_core.adapt.strata import WindowRow
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from replay.config import ReplaySettings
from replay.files import write_atomically
from replay.oracle import RankedRange, numbered, oracle_windows
from replay.past import Line, Past
from simulators.truth import Truth
from simulators.truth_file import DriftMark

DRIFT_FILE = "drift.json"


class DriftMarks(BaseModel):
    """The content of ``drift.json``: the drifts of a run's log without the ids that they affect.

    truth: the fingerprint of the truth file; cut_ms, end_ms: the online part; oracle: whether the run has one, which a log
    that drifts were put into has not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    truth: str
    made_by: Literal["simulate", "inject"]
    seed: int
    cut_ms: int
    end_ms: int
    oracle: bool
    drifts: tuple[DriftMark, ...]

    @classmethod
    def of(cls, truth: Truth) -> "DriftMarks":
        """The marks of a truth."""
        file = truth.file
        drifts = tuple(DriftMark(**drift.model_dump(include=set(DriftMark.model_fields))) for drift in file.drifts)
        return cls(
            truth=file.fingerprint, made_by=file.made_by, seed=file.seed, cut_ms=file.cut_ms, end_ms=file.end_ms,
            oracle=truth.world is not None, drifts=drifts,
        )  # fmt: skip

    def write(self, run: Path) -> None:
        """Write ``drift.json`` into a run's folder."""
        write_atomically(run / DRIFT_FILE, (self.model_dump_json(indent=2) + "\n").encode())


def read_marks(run: Path) -> DriftMarks | None:
    """Return the marks that a run keeps; None for a run that was given no truth.

    Raises:
        UserError: they cannot be read.
    """
    path = run / DRIFT_FILE
    if not path.is_file():
        return None
    try:
        return DriftMarks.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"run: {path} is damaged; replay again with --truth") from error


@dataclass(frozen=True)
class RunTruth:
    """The truth of the log that a run replays."""

    truth: Truth
    log: PreparedLog

    @classmethod
    def open(cls, path: Path, log: PreparedLog, settings: ReplaySettings) -> "RunTruth":
        """Read a truth file, or the one in a folder, and make sure that it fits.

        Raises:
            UserError: it is damaged or of another log, or the run leaves events out that the oracle would rank.
        """
        found = cls(Truth.load(path, log), log)
        if found.truth.world is not None:
            found._refuse_samples(settings)
        return found

    @property
    def marks(self) -> DriftMarks:
        """What the run keeps."""
        return DriftMarks.of(self.truth)

    def oracle(self, settings: ReplaySettings) -> list[WindowRow]:
        """The oracle's sums over the events that the run ranks; none where nobody knows the probabilities."""
        if self.truth.world is None:
            return []
        table = self.log.read(["user_id", "item_id", "event_time_ms"])
        shown_after_ms = settings.publish_delay_ms if settings.history == "version" else None
        line = Line(settings.cut_row, settings.slide_ms, shown_after_ms)
        past = Past(*numbered(self.truth, table), table["event_time_ms"].to_numpy(), line)
        ranked = RankedRange(settings.rank_from_ms, settings.rank_to_ms, settings.keep_consumed)
        return oracle_windows(self.truth, past, ranked)

    def _refuse_samples(self, settings: ReplaySettings) -> None:
        if settings.max_train_events is None:
            return
        times = self.log.read(["event_time_ms"], start_row=settings.cut_row)["event_time_ms"].to_numpy()
        _, events = np.unique(times // settings.slide_ms, return_counts=True)
        largest = int(events.max(initial=0))
        if largest > settings.max_train_events:
            raise UserError(
                f"--max-train-events: {settings.max_train_events:,} leaves out events of a slide of {largest:,}, and the oracle"
                " of --truth ranks all of them; give off, or leave --truth out"
            )
