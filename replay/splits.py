"""Which events of a log are ranked, in which evaluation windows, and the manifest that names the choice.

The line is global in time: the rows before the cut are pre-training, the rows after it are online. An evaluation
window is an hour of UTC that holds at least one online event; a split is a run of consecutive windows, perhaps cut
inside the first and the last one.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from dynmm_core.adapt.strata import WINDOW_MS
from dynmm_core.errors import UserError
from dynmm_core.quantities import format_time
from replay.files import write_atomically


class Log(Protocol):
    """What a split needs of a prepared log."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def cut_row(self) -> int: ...
    def read(self, columns: Sequence[str] | None = None, start_row: int = 0, end_row: int | None = None) -> pa.Table: ...


class Split(BaseModel):
    """The ranked events of one log; equal for equal events, however they were asked for.

    first_event_time_ms, last_event_time_ms: of the ranked events, both inclusive; windows: evaluation windows with
    a ranked event; events: ranked events; windows_sha256: over every window's start and number of events.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    dataset: str
    fingerprint: str
    cut_row: int
    first_event_time_ms: int
    last_event_time_ms: int
    windows: int
    events: int
    windows_sha256: str

    @property
    def hash(self) -> str:
        """Return the sha256 that names this split; the data set's name, which may be edited, is no part of it."""
        named = self.model_dump(mode="json", exclude={"dataset"})
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def make_split(log: Log, from_ms: int | None = None, to_ms: int | None = None, max_windows: int | None = None) -> Split:
    """Return the split of the online events in [from_ms, to_ms), at most ``max_windows`` windows of them.

    Raises:
        UserError: no online event lies in the range.
    """
    online = online_times(log)
    first = 0 if from_ms is None else int(np.searchsorted(online, from_ms))
    stop = len(online) if to_ms is None else int(np.searchsorted(online, to_ms))
    if first >= stop:
        raise UserError(_empty_range(online, from_ms, to_ms))
    starts, counts = windows_of(online[first:stop])
    if max_windows is not None:
        starts, counts = starts[:max_windows], counts[:max_windows]
    chosen = online[first : first + int(counts.sum())]
    return Split(
        dataset=log.name,
        fingerprint=log.fingerprint,
        cut_row=log.cut_row,
        first_event_time_ms=int(chosen[0]),
        last_event_time_ms=int(chosen[-1]),
        windows=len(starts),
        events=len(chosen),
        windows_sha256=hashlib.sha256(np.stack([starts, counts]).astype("<i8").tobytes()).hexdigest(),
    )


def online_times(log: Log) -> np.ndarray:
    """Return the event times (n,) int64 of the online rows, ascending, in ms."""
    times: np.ndarray = log.read(["event_time_ms"], start_row=log.cut_row)["event_time_ms"].to_numpy()
    return times


def windows_of(event_time_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (start in ms, number of events), each (w,) int64, of the non-empty evaluation windows, in order."""
    starts, counts = np.unique(event_time_ms // WINDOW_MS * WINDOW_MS, return_counts=True)
    return starts.astype(np.int64), counts.astype(np.int64)


def save_split(split: Split, path: Path) -> None:
    """Write the manifest, unless ``path`` already holds this very split.

    Raises:
        UserError: ``path`` holds something else.
    """
    if path.exists():
        if load_split(path) != split:
            raise UserError(f"--save-split: {path} holds another split; name a file that does not exist")
        return
    document = {**split.model_dump(mode="json"), "hash": split.hash}
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())


def load_split(path: Path) -> Split:
    """Read a manifest and check it against its own hash.

    Raises:
        UserError: no file, no manifest, or changed since it was written.
    """
    again = "save it again with --save-split"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        named = document.pop("hash")
        split = Split.model_validate(document)
    except OSError as error:
        raise UserError(f"split: {path} cannot be read ({error.strerror}); {again}") from error
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError) as error:
        raise UserError(f"split: {path} is no split manifest; {again}") from error
    if named != split.hash:
        raise UserError(f"split: {path} was changed: it names {named!s:.16}, it hashes to {split.hash:.16}; {again}")
    return split


def replayed_split(path: Path, log: Log) -> Split:
    """Return the split that a manifest names, found again in the log.

    Raises:
        UserError: the manifest belongs to other data.
    """
    split = load_split(path)
    if split.fingerprint != log.fingerprint:
        raise UserError(
            f"--split: {path} is of {split.dataset} ({split.fingerprint:.16}), the log is {log.name}"
            f" ({log.fingerprint:.16}); give the log it was saved from, or leave --split out"
        )
    found = make_split(log, split.first_event_time_ms, split.last_event_time_ms + 1)
    if found.hash != split.hash:
        raise UserError(f"--split: {path} does not fit {log.name}: other events; save it again with --save-split")
    return split


def _empty_range(online: np.ndarray, from_ms: int | None, to_ms: int | None) -> str:
    asked = " ".join(
        f"{option} {format_time(value)}" for option, value in (("--from", from_ms), ("--to", to_ms)) if value is not None
    )
    lie = f"{format_time(int(online[0]))} to {format_time(int(online[-1]))}" if len(online) else "nowhere"
    return f"{asked or 'log'}: no online event in this range; online events lie from {lie}"
