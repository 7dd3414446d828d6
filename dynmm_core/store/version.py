"""What a version is: refreshed rows, what they were made from, and a hash over all of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from dynmm_core.errors import DynmmError, UserError


class StaleParent(DynmmError):
    """Somebody else committed in between; reload the head and decide again."""


class ConflictingVersion(UserError):
    """The same slide was committed before with other content."""


@dataclass(frozen=True)
class LatentRows:
    """Refreshed latents: kinds (n,) ``item`` or ``user``, ids (n,) text, latents (n, latent_dim) float32, finite."""

    kinds: np.ndarray
    ids: np.ndarray
    latents: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.kinds) == len(self.ids) == len(self.latents):
            raise ValueError(f"rows: {len(self.kinds)} kinds, {len(self.ids)} ids, {len(self.latents)} latents")
        finite = np.isfinite(self.latents).all(axis=1)
        if not finite.all():
            first = int(np.flatnonzero(~finite)[0])
            raise UserError(
                f"latents: {self.kinds[first]} {self.ids[first]} is not finite, and {int((~finite).sum()) - 1} more;"
                " the last good version stays served"
            )

    def sorted(self) -> "LatentRows":
        """Return the rows by (kind, id): the logical order, whatever order they came in."""
        order = np.lexsort((self.ids, self.kinds))
        return LatentRows(self.kinds[order], self.ids[order], self.latents[order])


@dataclass(frozen=True)
class Draft:
    """A version to be: rows and causes of one slide.

    state: hash of the trainer state's manifest; keep_rows: False hashes the rows without storing them; lineage: facts
    about the slide that belong to the version's identity; metrics: figures that travel with it.
    """

    run: str
    slide_end_ms: int
    config_hash: str
    base_hash: str
    state: str
    rows: LatentRows
    keep_rows: bool
    metrics: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)

    def content_hash(self, parent_hash: str | None) -> str:
        """Return the SHA-256 over parent, causes and logical rows; never files, formats, figures or wall time."""
        causes = {
            "parent": parent_hash, "run": self.run, "slide_end_ms": self.slide_end_ms, "base": self.base_hash,
            "state": self.state, "lineage": dict(self.lineage),
        }  # fmt: skip
        digest = hashlib.sha256(json.dumps(causes, sort_keys=True).encode())
        rows = self.rows.sorted()
        digest.update("\0".join(rows.kinds.tolist()).encode())
        digest.update("\0".join(rows.ids.tolist()).encode())
        digest.update(np.ascontiguousarray(rows.latents, "<f4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Version:
    """A committed version. ``number`` counts from 0 without gaps; ``committed_at_ms`` is wall time and in no hash."""

    number: int
    run: str
    slide_end_ms: int
    content_hash: str
    parent: int | None
    parent_hash: str | None
    state: str
    config_hash: str
    base_hash: str
    rows_kept: bool
    rows: int
    metrics: dict[str, Any]
    lineage: dict[str, Any]
    committed_at_ms: int

    def to_json(self) -> str:
        """Return the version as one JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Version":
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))
