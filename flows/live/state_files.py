"""What buckets carry behind their slides, on disk: one file for all that a process sends together, synced once."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from os import SEEK_CUR
from pathlib import Path
from typing import Any

import orjson

from dynmm_core.crash_points import crash_point
from dynmm_core.store.durable import sync, write_whole
from dynmm_core.windows.buckets import BUCKET_KEYS
from dynmm_core.windows.clock import NEVER_MS
from dynmm_core.windows.messages import ShardState, hash_of

KEPT_STATES = 64  # of every bucket: how far back a run can be resumed or rolled back
_TOLD_ALONE = KEPT_STATES * len(BUCKET_KEYS)
_VERSION = 1


@dataclass(frozen=True)
class _Header:
    """Whose states behind which slides are in a file, and through which slide each bucket was known to be told of by then."""

    states: list[tuple[str, int]]
    told: dict[str, int]

    @classmethod
    def of(cls, document: dict[str, Any]) -> "_Header":
        return cls([(shard, end_ms) for shard, end_ms, *_ in document["states"]], document.get("told", {}))


class StateFiles:
    """States by bucket and hash. A file is a line of JSON that tells what is in it, then the states one after the other.

    Several processes may write into the folder, each for its own buckets. A run goes on behind a slide of which all buckets were
    told (by a marker, by a version): up to the last such slide the newest states stay, and all that lie behind it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[ShardState] = []
        self._told: dict[str, int] = {}
        self._told_since = 0  # the last file
        self._headers: dict[str, _Header] = {}  # of each file that was seen, by name

    def keep(self, state: ShardState) -> None:
        """Take in a state, to be written by the next :meth:`settle`."""
        self._waiting.append(state)

    def note_told(self, shard: str, through_ms: int) -> None:
        """What names the bucket's state behind ``through_ms`` is written for good: a restart goes on there or later."""
        if through_ms > self._told.get(shard, NEVER_MS):
            self._told[shard] = through_ms
            self._told_since += 1

    def settle(self) -> None:
        """Write what was taken in; it is on disk when this returns. Files go of which no bucket needs its state any more.

        Raises:
            UserError: the disk is full.
        """
        # Other processes wait for the word of one whose buckets see no events.
        if not self._waiting and self._told_since < _TOLD_ALONE:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        states = [[one.shard, one.slide_end_ms, one.digest, len(one.payload)] for one in self._waiting]
        document = {"version": _VERSION, "states": states}
        # What was told is no part of the name: a slide that is sent again leaves its file as it was.
        known = hash_of(orjson.dumps(document if states else self._told)).hex()[:16]
        newest_ms = max([one.slide_end_ms for one in self._waiting] or self._told.values())
        name, document["told"] = f"{newest_ms:020}-{known}", self._told
        if not (self._folder / name).is_file():
            header = orjson.dumps(document) + b"\n"
            write_whole(self._folder / name, b"".join((header, *(one.payload for one in self._waiting))))
            sync(self._folder)
        self._waiting, self._told_since = [], 0
        self._drop_old()
        crash_point("after-tails-file")

    def find(self, shard: str, digest: str) -> tuple[Path, bytes] | None:
        """The state of that hash and the file that it is in, unless there is none; whether it is sound is not looked at."""
        for path in sorted(self._folder.glob("[0-9]*"), reverse=True):
            with suppress(FileNotFoundError), path.open("rb") as file:  # another process may have deleted it
                for other, _, known, size in orjson.loads(file.readline())["states"]:
                    if (other, known) == (shard, digest):
                        return path, file.read(size)
                    file.seek(size, SEEK_CUR)
        return None

    def _drop_old(self) -> None:
        """Delete the files of whose states each has enough newer ones of its bucket, up to the slide that all were told of."""
        headers = {path.name: self._header_of(path) for path in self._folder.glob("[0-9]*")}
        self._headers = {name: header for name, header in headers.items() if header is not None}
        told = _newest([self._told, *(header.told for header in self._headers.values())])
        all_told_ms = min(told.get(shard, NEVER_MS) for shard in BUCKET_KEYS)
        kept = _kept_from((one for header in self._headers.values() for one in header.states), all_told_ms)
        for name, header in list(self._headers.items()):
            if header.states:
                old = all(end_ms < kept.get(shard, NEVER_MS) for shard, end_ms in header.states)
            else:
                old = all(through_ms < told[shard] for shard, through_ms in header.told.items())
            if old:
                (self._folder / name).unlink(missing_ok=True)
                del self._headers[name]

    def _header_of(self, path: Path) -> _Header | None:
        """What a file says of itself; None if another process has deleted it."""
        if path.name not in self._headers:
            with suppress(FileNotFoundError), path.open("rb") as file:
                return _Header.of(orjson.loads(file.readline()))
            return None
        return self._headers[path.name]


def _newest(told: Iterable[dict[str, int]]) -> dict[str, int]:
    newest: dict[str, int] = {}
    for one in told:
        for shard, through_ms in one.items():
            newest[shard] = max(through_ms, newest.get(shard, NEVER_MS))
    return newest


def _kept_from(states: Iterable[tuple[str, int]], through_ms: int) -> dict[str, int]:
    """By bucket the oldest slide whose state stays, where it has more up to ``through_ms`` than are kept."""
    ends: dict[str, set[int]] = defaultdict(set)
    for shard, end_ms in states:
        if end_ms <= through_ms:
            ends[shard].add(end_ms)
    return {shard: sorted(some)[-KEPT_STATES] for shard, some in ends.items() if len(some) > KEPT_STATES}
