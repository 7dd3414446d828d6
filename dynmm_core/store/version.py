"""What a version is: refreshed rows, what they were made from, and a hash over all of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.errors import DynmmError, UserError

KINDS = ("item", "user")


class StaleParent(DynmmError):
    """Somebody else committed in between; reload the head and decide again."""


class ConflictingVersion(UserError):
    """The same slide was committed before with other content."""


def id_column(ids: Sequence[str]) -> np.ndarray:
    """Return ids as an array (n,) of Python's own text."""
    # Text of fixed width would lose a NUL at an id's end, and give every id the room of the longest.
    column = np.empty(len(ids), object)
    column[:] = ids
    return column


@dataclass(frozen=True)
class LatentRows:
    """Refreshed latents: kinds (n,) ``item`` or ``user``, ids (n,) of :func:`id_column`, latents (n, latent_dim) float32, finite.

    Raises:
        UserError: a latent is NaN or infinite.
    """

    kinds: np.ndarray
    ids: np.ndarray
    latents: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.kinds) == len(self.ids) == len(self.latents):
            raise ValueError(f"rows: {len(self.kinds)} kinds, {len(self.ids)} ids, {len(self.latents)} latents")
        if self.latents.ndim != 2 or self.latents.dtype != np.float32:
            raise ValueError(f"latents: {self.latents.dtype} of shape {self.latents.shape}, not float32 (n, latent_dim)")
        if not set(np.unique(self.kinds).tolist()) <= set(KINDS):
            raise ValueError(f"kinds: {np.unique(self.kinds).tolist()}, of which only {KINDS} are known")
        finite = np.isfinite(self.latents).all(axis=1)
        if not finite.all():
            first = int(np.flatnonzero(~finite)[0])
            raise UserError(
                f"latents: {self.kinds[first]} {self.ids[first]} is not finite, and {int((~finite).sum()) - 1} more;"
                " the last good version stays served"
            )

    def sorted(self) -> "LatentRows":
        """Return the rows by (kind, id): the logical order, whatever order they came in.

        Raises:
            ValueError: a (kind, id) stands twice, so that its latent would depend on the order.
        """
        columns = {"kind": self.kinds.tolist(), "id": self.ids.tolist()}
        by = [(name, "ascending") for name in columns]
        table = pa.table({name: pa.array(texts, pa.string()) for name, texts in columns.items()})
        order = pc.sort_indices(table, sort_keys=by).to_numpy()
        kinds, ids = self.kinds[order], self.ids[order]
        twice = (kinds[1:] == kinds[:-1]) & (ids[1:] == ids[:-1])
        if twice.any():
            first = int(np.flatnonzero(twice)[0])
            raise ValueError(f"rows: {kinds[first]} {ids[first]} stands twice")
        return LatentRows(kinds, ids, self.latents[order])


@dataclass(frozen=True)
class Draft:
    """A version to be: rows and causes of one slide.

    state: hash of the trainer state's manifest; keep_rows: False hashes the rows without storing them; lineage: facts
    about the slide that belong to the version's identity; metrics: figures that travel with it, outside the hash.

    The rows of a kept version hold at least everything that changed since the kept version before, for the view at a
    version is merged from kept rows alone. full: they are all there is, and no older row counts any more.
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
    full: bool = False

    @cached_property
    def sorted_rows(self) -> LatentRows:
        """The rows by (kind, id)."""
        return self.rows.sorted()

    def content_hash(self, parent_hash: str | None) -> str:
        """Return the SHA-256 over parent, causes and logical rows; never files, formats, figures or wall time."""
        causes = {
            "parent": parent_hash, "run": self.run, "slide_end_ms": self.slide_end_ms, "base": self.base_hash,
            "state": self.state, "lineage": dict(self.lineage), "full": self.full, "rows": len(self.rows.ids),
        }  # fmt: skip
        digest = hashlib.sha256(json.dumps(causes, sort_keys=True, allow_nan=False).encode())
        rows = self.sorted_rows
        for texts in (rows.kinds, rows.ids):
            encoded = [text.encode() for text in texts.tolist()]
            # Lengths first: joined by any separator, ids that contain it would make two lists look alike.
            digest.update(np.array([len(text) for text in encoded], "<i8").tobytes())
            digest.update(b"".join(encoded))
        digest.update(np.ascontiguousarray(rows.latents, "<f4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Version:
    """A committed version. ``number`` counts from 0 without gaps; ``committed_at_ms`` is wall time and in no hash.

    ``parent`` is the number before, but for the first version behind a rollback.
    """

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
    full: bool = False

    @classmethod
    def made_from(cls, draft: Draft, parent: "Version | None", number: int, committed_at_ms: int) -> "Version":
        """Return version ``number`` that ``draft`` becomes on top of ``parent``."""
        parent_hash = None if parent is None else parent.content_hash
        return cls(
            number=number, run=draft.run, slide_end_ms=draft.slide_end_ms,
            content_hash=draft.content_hash(parent_hash), parent=None if parent is None else parent.number,
            parent_hash=parent_hash, state=draft.state, config_hash=draft.config_hash, base_hash=draft.base_hash,
            rows_kept=draft.keep_rows, rows=len(draft.rows.ids), metrics=dict(draft.metrics),
            lineage=dict(draft.lineage), committed_at_ms=committed_at_ms, full=draft.full,
        )  # fmt: skip

    def to_json(self) -> str:
        """Return the version as one JSON object."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Version":
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))
