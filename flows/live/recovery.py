"""The recovery folder: what a run was begun with, and the state that its buckets carry."""

import json
import os
from pathlib import Path
from typing import Any

from dynmm_core.errors import UserError
from dynmm_core.store.durable import sync, write_whole
from dynmm_core.windows.messages import ShardState, hash_of
from flows.live.state_files import StateFiles

_FACTS = "run.json"


class RecoveryFolder:
    """Facts of one run, and per bucket the users' newest items behind its last slides, by hash. Readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._states = StateFiles(path / "tails")

    def begin(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Record what the run is begun with, or return what it was begun with; whoever comes first decides.

        Raises:
            UserError: the folder belongs to another run or to other settings.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = self.path / _FACTS
        if not target.is_file():
            draft = self.path / f".{_FACTS}.{os.getpid()}"
            write_whole(draft, json.dumps(facts, indent=2).encode() + b"\n")
            try:
                os.link(draft, target)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
            sync(self.path)
        known: dict[str, Any] = json.loads(target.read_text())
        for name in (name for name in facts if name != "starts"):
            if known.get(name) != facts[name]:
                raise UserError(
                    f"{name}: {self.path} belongs to a run with {known.get(name)!r}, not {facts[name]!r};"
                    " give the same again, or begin another run with --run NAME and --recovery FOLDER"
                )
        return known

    @property
    def begun(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / _FACTS).is_file()

    @property
    def topic_ids(self) -> dict[str, str]:
        """The topics of the run that was begun here, with the ids they had; none where none was."""
        return dict(json.loads((self.path / _FACTS).read_text())["topic_ids"]) if self.begun else {}

    def keep(self, state: ShardState) -> None:
        """Take in a bucket's state, which must be settled before anybody is told of it."""
        self._states.keep(state)

    def note_told(self, shard: str, through_ms: int) -> None:
        """The marker or version that names the bucket's state behind ``through_ms`` is written for good."""
        self._states.note_told(shard, through_ms)

    def settle(self) -> None:
        """Write the states taken in; they are on disk when this returns.

        Raises:
            UserError: the disk is full.
        """
        self._states.settle()

    def load(self, shard: str, digest: str) -> bytes:
        """Read the state of that hash.

        Raises:
            UserError: it is not there, or damaged.
        """
        found = self._states.find(shard, digest)
        if found is None:
            raise UserError(
                f"recovery: {self.path} has no state {digest[:12]} of {shard}; bring the folder back,"
                " or begin another run with --run NAME and --recovery FOLDER"
            )
        path, payload = found
        if hash_of(payload).hex() != digest:
            raise UserError(
                f"recovery: {path} is not what it was written as; bring it back, or begin another run with --run NAME"
            )
        return payload
