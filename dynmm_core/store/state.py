"""Trainer state on disk: content-addressed, written before the commit that names it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from dynmm_core.errors import UserError
from dynmm_core.sealed import Sealed
from dynmm_core.store.durable import full_disk_told, sync, write_whole


class StateFiles:
    """Named byte strings under ``path``; each lies once, under the SHA-256 of its content.

    Args:
        path: the folder, made when the first state is put.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, state: Mapping[str, bytes]) -> str:
        """Write a state durably and return the hash that names it; putting it again writes nothing.

        The parts come first and the manifest last, so that a manifest that is there has all its parts.
        """
        with full_disk_told(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        manifest = json.dumps({name: self._write(content) for name, content in sorted(state.items())}).encode()
        name = self._write(manifest)
        sync(self.path)
        return name

    def get(self, name: str) -> dict[str, bytes]:
        """Read the state that ``name`` names.

        Raises:
            UserError: a part is missing, or differs from its hash.
        """
        return {part: self._read(digest) for part, digest in self._manifest(name).items()}

    def has(self, name: str) -> bool:
        """Return whether the state that ``name`` names is there, as far as the presence of its manifest tells."""
        return (self.path / name).is_file()

    def gc(self, keep: set[str]) -> int:
        """Remove every file that no state in ``keep`` needs, left-overs of killed writers too; return how many.

        Only the writer may call this: a state that another process has put and not yet committed would go.

        Raises:
            UserError: a state in ``keep`` is missing; nothing was removed.
        """
        needed = set(keep)
        for name in keep:
            needed |= set(self._manifest(name).values())
        if not self.path.is_dir():
            return 0
        unneeded = [file for file in self.path.iterdir() if file.name not in needed]
        for file in unneeded:
            file.unlink()
        return len(unneeded)

    def _manifest(self, name: str) -> dict[str, str]:
        parts: dict[str, str] = json.loads(self._read(name))
        return parts

    def _write(self, content: bytes) -> str:
        digest = content.digest if isinstance(content, Sealed) else hashlib.sha256(content).hexdigest()
        target = self.path / digest
        if not (target.is_file() and target.stat().st_size == len(content)):
            write_whole(target, content)
        return digest

    def _read(self, digest: str) -> bytes:
        file = self.path / digest
        if not file.is_file():
            raise UserError(f"state: {file} is missing; the run cannot go on, replay it into a new folder")
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise UserError(f"state: {file} is not what it was written as; the run cannot go on, replay it into a new folder")
        return content
