"""Output folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from dynmm_core.errors import UserError


def refuse_existing(out: Path) -> None:
    """UserError if anything lies at `out`: results are never written over."""
    if out.exists() or out.is_symlink():
        raise UserError(f"--out {out}: exists already and is not overwritten; give another folder, or remove it first")


def nearest_parent(out: Path) -> Path:
    """The closest folder above `out` that exists; UserError if nothing can be written there."""
    nearest = next(parent for parent in out.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"--out {out}: {nearest} is no folder that can be written; give another folder")
    return nearest


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`, renamed to `out` when the block ends well and removed when it does
    not.
    """
    refuse_existing(out)
    nearest_parent(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield building
        refuse_existing(out)
        building.chmod(0o755)
        for file in building.iterdir():
            _flush(file)
        building.rename(out)
        _flush(out.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _flush(path: Path) -> None:
    # The rename must not reach the disk before the content does.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
