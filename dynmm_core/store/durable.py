"""Files that are whole or absent, and on disk when a function returns."""

import os
import uuid
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` at ``path`` and sync it: a reader sees all of it or what was there before, whoever is killed.

    The name itself is durable only after :func:`sync` of the folder, which callers do once for several files.
    """
    # A name of its own for every writer: a shared one would let the second truncate what the first has just renamed.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with draft.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def sync(path: Path) -> None:
    """Wait until the file, or the folder's list of names, at ``path`` is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
