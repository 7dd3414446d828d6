"""What buckets carry behind their slides, on disk: one file for all that a process sends together, synced once."""

from collections import Counter
from contextlib import suppress
from os import SEEK_CUR
from pathlib import Path

import orjson

from dynmm_core.crash_points import crash_point
from dynmm_core.store.durable import sync, write_whole
from dynmm_core.windows.messages import ShardState, hash_of

KEPT_STATES = 64  # of every bucket: how far back a run can be resumed or rolled back
_VERSION = 1


class StateFiles:
    """States by bucket and hash. A file is a line of JSON that tells what is in it, then the states one after the other.

    Several processes may write into the folder, each for its own buckets.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[ShardState] = []
        self._shards: dict[str, list[str]] = {}  # of each file that was seen, by name

    def keep(self, state: ShardState) -> None:
        """Take in a state, to be written by the next :meth:`settle`."""
        self._waiting.append(state)

    def settle(self) -> None:
        """Write what was taken in; it is on disk when this returns. Files go of which no bucket needs its state any more.

        Raises:
            UserError: the disk is full.
        """
        if not self._waiting:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        states = [[one.shard, one.slide_end_ms, one.digest, len(one.payload)] for one in self._waiting]
        header = orjson.dumps({"version": _VERSION, "states": states}) + b"\n"
        name = f"{max(one.slide_end_ms for one in self._waiting):020}-{hash_of(header).hex()[:16]}"
        if not (self._folder / name).is_file():
            write_whole(self._folder / name, b"".join((header, *(one.payload for one in self._waiting))))
            sync(self._folder)
        self._shards[name] = [one.shard for one in self._waiting]
        self._waiting = []
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
        """Delete the files in which every state has enough newer ones of its bucket."""
        newer: Counter[str] = Counter()
        for path in sorted(self._folder.glob("[0-9]*"), reverse=True):
            shards = self._shards_in(path)
            if shards and all(newer[shard] >= KEPT_STATES for shard in shards):
                path.unlink(missing_ok=True)
                del self._shards[path.name]
            newer.update(shards)

    def _shards_in(self, path: Path) -> list[str]:
        """Whose states are in a file; nobody's, if another process has deleted it."""
        if path.name not in self._shards:
            try:
                with path.open("rb") as file:
                    self._shards[path.name] = [shard for shard, *_ in orjson.loads(file.readline())["states"]]
            except FileNotFoundError:
                return []
        return self._shards[path.name]
