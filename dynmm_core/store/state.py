"""Trainer state on disk: content-addressed, written before the commit that names it."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dynmm_core.errors import UserError


class StateFiles:
    """Named byte strings under ``path``; each lies once, under the hash of its content.

    Args:
        path: the folder, made when the first state is put.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, state: Mapping[str, bytes]) -> str:
        """Write a state durably and return the hash that names it; putting it again writes nothing."""
        self.path.mkdir(parents=True, exist_ok=True)
        manifest = json.dumps({name: self._write(content) for name, content in sorted(state.items())}).encode()
        name = self._write(manifest)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return name

    def get(self, name: str) -> dict[str, bytes]:
        """Read the state that ``name`` names.

        Raises:
            UserError: a part is missing, or differs from its hash.
        """
        return {part: self._read(digest) for part, digest in json.loads(self._read(name)).items()}

    def gc(self, keep: set[str]) -> int:
        """Remove every file that no state in ``keep`` needs; return how many."""
        needed = set(keep)
        for name in keep:
            needed |= set(json.loads(self._read(name)).values())
        removed = 0
        for file in self.path.iterdir():
            if file.name not in needed:
                file.unlink()
                removed += 1
        return removed

    def _write(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        target = self.path / digest
        if target.exists() and target.stat().st_size == len(content):
            return digest
        with tempfile.NamedTemporaryFile(dir=self.path, delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).rename(target)
        return digest

    def _read(self, digest: str) -> bytes:
        file = self.path / digest
        if not file.is_file():
            raise UserError(f"state: {file} is missing; the run cannot go on, replay it into a new folder")
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise UserError(f"state: {file} is not what it was written as; the run cannot go on, replay it into a new folder")
        return content
