"""The bundle: everything a replay or a live flow starts from, in one folder, bound to the history it was made on."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.evidence.context import ContextColumns
from dynmm_core.model.aligner import BaseAligner
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.sasrec import SASRec

BUNDLE_SCHEMA_VERSION = 3
_MANIFEST = "bundle.json"
_HEAD = "head.safetensors"
_TEXT = "text.safetensors"
_CONTEXT = "context."


class BackboneShape(BaseModel):
    """Shape of the backbone and of the joint space; widths in floats, ``max_length`` in items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden_dim: int
    latent_dim: int
    layers: int
    heads: int
    max_length: int
    dropout: float


class Choices(BaseModel):
    """What was chosen on the pre-training tail: times in ms, weights without unit; ``baselines``: settings by simple model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    half_lives_ms: tuple[int, ...]
    adapter_lr: float
    stability_weight: float
    pair_half_life_ms: int
    baselines: dict[str, dict[str, int]]

    @property
    def popularity_window_ms(self) -> int:
        """The window by which popularity ranks best."""
        return self.baselines["window_popularity"]["window_ms"]


@dataclass(frozen=True)
class CutState:
    """Facts at the cut, from which histories and accumulators start warm.

    item_ids, user_ids: ids of indices 1, 2, …; user_idx, item_idx, event_time_ms (n,): every event before the cut;
    context (n, columns): its context codes; of_click: places of the columns that are known only with a click.
    """

    item_ids: list[str]
    user_ids: list[str]
    user_idx: np.ndarray
    item_idx: np.ndarray
    event_time_ms: np.ndarray
    context: np.ndarray
    of_click: tuple[int, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """A frozen base with its choices and its cut; :attr:`hash` names its whole content.

    costly: settings by costly model, empty where none was tuned. dataset_fingerprint, history_fingerprint: of the log that it
    was made on, whole and before the cut; the latter None in bundles of before it was noted.
    """

    path: Path
    hash: str
    dataset: str
    dataset_fingerprint: str
    cut_row: int
    cut_time_ms: int
    newest_event_ms: int
    seed: int
    shape: BackboneShape
    choices: Choices
    context: ContextColumns
    trials: list[dict[str, Any]]
    costly: dict[str, dict[str, float]]
    history_fingerprint: str | None = None

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """Read a bundle's manifest and check every file against it.

        Raises:
            UserError: no bundle at ``path``, made by another schema version, or a file was changed.
        """
        manifest_path = path / _MANIFEST
        if not manifest_path.is_file():
            new = "BUNDLE" if path.exists() else path  # pre-training takes no folder that is there
            raise UserError(f"bundle: {path} holds no {_MANIFEST}; make one with `dynmm pretrain DATA --out {new}` and name it")
        manifest = _read_manifest(manifest_path)
        if manifest.get("schema_version") != BUNDLE_SCHEMA_VERSION:
            raise UserError(
                f"bundle: schema_version {manifest.get('schema_version')} of {path} is not {BUNDLE_SCHEMA_VERSION};"
                " make the bundle again with `dynmm pretrain`"
            )
        if manifest.get("hash") != _manifest_hash(manifest):
            raise UserError(f"bundle: {manifest_path} was edited; make the bundle again with `dynmm pretrain`")
        for name, digest in manifest["files"].items():
            if not (path / name).is_file() or _file_hash(path / name) != digest:
                raise UserError(f"bundle: {path / name} is missing or changed; make the bundle again with `dynmm pretrain`")
        values = {name: tuple(one) for name, one in manifest["context"].items()}
        return cls(
            path, manifest["hash"], manifest["dataset"], manifest["dataset_fingerprint"], manifest["cut_row"],
            manifest["cut_time_ms"], manifest["newest_event_ms"], manifest["seed"], BackboneShape(**manifest["shape"]),
            Choices(**manifest["choices"]), ContextColumns(values, tuple(manifest.get("context_of_click", ()))),
            manifest["trials"], manifest.get("costly", {}), manifest.get("history_fingerprint"),
        )  # fmt: skip

    def fits(self, log: PreparedLog) -> bool:
        """Whether it was made on this log, or on another one with the same cut and the very same events before it.

        Nothing behind the cut goes into a bundle: weights, choices, ids, context and text are all of the events before it.
        Context and text are in neither fingerprint; their values, as far as a bundle needs them, are its own.
        """
        same = self.dataset_fingerprint == log.fingerprint
        return self.cut_row == log.cut_row and (same or self.history_fingerprint == log.history_fingerprint())

    def base(self, device: torch.device) -> FrozenBase:
        """Load the frozen base onto ``device``."""
        weights = load_file(self.path / "backbone.safetensors")
        backbone = new_backbone(self.shape, len(weights["item_embedding.weight"]) - 1)
        backbone.load_state_dict(weights)
        aligner = BaseAligner(self.shape.hidden_dim, self.shape.latent_dim)
        aligner.load_state_dict(load_file(self.path / "aligner.safetensors"))
        text = load_file(self.path / _TEXT)["e_txt"] if (self.path / _TEXT).is_file() else None
        return FrozenBase(backbone, aligner, device, text)

    def head(self) -> dict[str, torch.Tensor] | None:
        """Load the weights that the online head starts from; None in a bundle without."""
        path = self.path / _HEAD
        return load_file(path) if path.is_file() else None

    def cut_state(self) -> CutState:
        """Load ids and events up to the cut."""
        events = feather.read_table(self.path / "events.arrow")
        items, users = (feather.read_table(self.path / f"{kind}.arrow")["id"].to_pylist() for kind in ("items", "users"))
        column = {name: events[name].to_numpy().astype(np.int64) for name in events.column_names}
        context = np.zeros((len(events), len(self.context)), np.int64)
        for place in range(len(self.context)):
            context[:, place] = column[f"{_CONTEXT}{place}"]
        events_of = (column["user_idx"], column["item_idx"], column["event_time_ms"])
        return CutState(items, users, *events_of, context, self.context.places_of_click)


def new_backbone(shape: BackboneShape, num_items: int) -> SASRec:
    """Return a backbone of this shape with undefined weights."""
    return SASRec(num_items, shape.hidden_dim, shape.layers, shape.heads, shape.max_length, shape.dropout)


def save_bundle(
    path: Path, backbone: SASRec, aligner: BaseAligner, cut: CutState, facts: Mapping[str, Any], trials: list[dict[str, Any]],
    head: Mapping[str, torch.Tensor] | None = None, e_txt: torch.Tensor | None = None,
) -> Bundle:  # fmt: skip
    """Write a bundle to ``path``, which appears only when it is complete.

    Args:
        facts: the manifest's own fields: dataset, dataset_fingerprint, history_fingerprint, cut_row, cut_time_ms,
            newest_event_ms, seed, shape, choices, context, context_of_click, and costly if those models were tuned;
        head: weights that the online head starts from, if it learned on the tail;
        e_txt: (num_items + 1, text_dim) text vectors of the base's items.
    """
    scratch = path.with_name(path.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    save_file(_contiguous(backbone), scratch / "backbone.safetensors")
    save_file(_contiguous(aligner), scratch / "aligner.safetensors")
    if head is not None:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in head.items()}, scratch / _HEAD)
    if e_txt is not None:
        save_file({"e_txt": e_txt.contiguous()}, scratch / _TEXT)
    for kind, ids in (("items", cut.item_ids), ("users", cut.user_ids)):
        feather.write_feather(pa.table({"id": pa.array(ids, pa.string())}), scratch / f"{kind}.arrow", compression="zstd")
    events = {
        "user_idx": cut.user_idx.astype(np.int32),
        "item_idx": cut.item_idx.astype(np.int32),
        "event_time_ms": cut.event_time_ms,
        **{f"{_CONTEXT}{place}": codes.astype(np.int8) for place, codes in enumerate(cut.context.T)},
    }
    feather.write_feather(pa.table(events), scratch / "events.arrow", compression="zstd")
    files = {file.name: _file_hash(file) for file in sorted(scratch.iterdir())}
    manifest = {"schema_version": BUNDLE_SCHEMA_VERSION, **facts, "files": files, "trials": trials}
    manifest["hash"] = _manifest_hash(manifest)
    (scratch / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    scratch.rename(path)
    return Bundle.load(path)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"bundle: {path} is no JSON ({error}); make the bundle again with `dynmm pretrain`") from error
    return manifest if isinstance(manifest, dict) else {}


def _manifest_hash(manifest: Mapping[str, Any]) -> str:
    """Return the hash of all that a bundle is; the trials say how it came about."""
    named = {key: value for key, value in manifest.items() if key not in ("trials", "hash")}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def _contiguous(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
