"""What was trained once is found again: a row's figures in one file, named by all that decides them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.backbone.training import Trained

_FACTS = ("epochs", "best_epoch", "validation", "seconds")


def kept(work: Path, name: str, decides: dict[str, Any], train: Callable[[], Trained]) -> Trained:
    """Return the row kept in ``work`` for ``decides``, or train and keep it."""
    digest = hashlib.blake2b(json.dumps([name, decides], sort_keys=True).encode(), digest_size=8).hexdigest()
    path = work / f"{digest}.npz"
    if path.is_file():
        with np.load(path) as found:
            facts = json.loads(str(found["facts"]))
            return Trained(name, found["figures"], **facts)
    trained = train()
    work.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, figures=trained.figures, facts=json.dumps({fact: getattr(trained, fact) for fact in _FACTS}))
    part.replace(path)
    return trained
