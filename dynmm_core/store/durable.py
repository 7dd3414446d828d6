"""Files that are whole or absent, and on disk when a function returns; a full disk is told as one."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dynmm_core.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# delta-rs and Arrow pass the system's word on as text.
_FULL_TEXTS = ("No space left on device", "os error 28", "Disk quota exceeded")


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` at ``path`` and sync it: a reader sees all of it or what was there before, whoever is killed.

    The name itself is durable only after :func:`sync` of the folder, which callers do once for several files.

    Raises:
        UserError: the disk is full.
    """
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a draft of ``path`` for writing; when the block ends well it is synced and takes the name, else it goes.

    Raises:
        UserError: the disk is full.
    """
    # A name of its own for every writer: a shared one would let the second truncate what the first has just renamed.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with full_disk_told(path):
            with draft.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
    except BaseException:
        # On a full disk the half draft would take the very space that is missing.
        draft.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Wait until the file, or the folder's list of names, at ``path`` is on disk.

    Raises:
        UserError: the disk is full.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        # Some file systems look for the space only now.
        with full_disk_told(path):
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """Turn any library's word for a full disk into one line about the disk that holds ``path``.

    Raises:
        UserError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        raise UserError(
            f"disk: {path} could not be written, no space left; free space and start again, nothing is lost"
        ) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, UserError):
        return False
    return getattr(error, "errno", None) in _FULL or any(text in str(error) for text in _FULL_TEXTS)
