"""The truth file: truth.json beside a log, and truth_ids.arrow where a drift affects many."""

import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from dynmm_core.errors import UserError
from dynmm_core.toml_file import first_complaint
from simulators.drifts import Drift
from simulators.faults import FaultRates
from simulators.faulty_log import ExpectedCounts
from simulators.names import names_of
from simulators.schedule import DriftPlan
from simulators.settings import StreamSettings, cut_time_ms
from simulators.world import World

IDS_FILE = "truth_ids.arrow"
_INLINE = 1_000  # ids beyond that lie in the Arrow file


class KnownFaults(BaseModel):
    """The faults in a log's messages: the rates that were asked for, for which reader, and what it must count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rates: FaultRates
    partitions: int
    slide: str
    allowed_lateness: str
    max_skew: str
    expected: ExpectedCounts


class DriftMark(BaseModel):
    """When one drift happens, and how strong it is: its moments, its levels from moment to moment, how many it affects.

    levels: (moment, level) pairs, none of them for a gradual drift, whose level rises evenly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: str
    start_ms: int
    end_ms: int | None
    magnitude: float
    period_ms: int | None = None
    modality: str | None = None
    levels: list[tuple[int, float]]
    items_affected: int
    users_affected: int


class KnownDrift(DriftMark):
    """One drift, and whom it affects: ``items`` and ``users`` are ids, "all", or, in the file alone, "truth_ids.arrow"."""

    items: tuple[str, ...] | Literal["all", "truth_ids.arrow"]
    users: tuple[str, ...] | Literal["all", "truth_ids.arrow"]

    @classmethod
    def of(cls, drift: Drift, item_ids: pa.Array, user_ids: pa.Array) -> "KnownDrift":
        """What is known of a drift in a log with these ids."""
        items = tuple(item_ids.take(pa.array(drift.items)).to_pylist())
        users = None if drift.users is None else tuple(user_ids.take(pa.array(drift.users)).to_pylist())
        return cls(
            id=drift.id, kind=drift.kind, start_ms=drift.start_ms, end_ms=drift.end_ms, magnitude=drift.magnitude,
            period_ms=drift.period_ms, modality=drift.modality, levels=drift.levels(),
            items_affected=len(items), users_affected=len(user_ids if users is None else users),
            items=items, users="all" if users is None else users,
        )  # fmt: skip


class TruthFile(BaseModel):
    """What truth.json says. ``world`` and ``log`` are fingerprints; ``settings`` and ``plans`` rebuild the world.

    ``source`` is the fingerprint of the log that drifts were put into, which has neither settings nor world.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[2] = 2
    made_by: Literal["simulate", "inject"]
    seed: int
    settings: StreamSettings | None
    plans: tuple[DriftPlan, ...]
    cut_ms: int
    end_ms: int
    world: str | None
    log: str | None
    source: str | None = None
    drifts: tuple[KnownDrift, ...] = ()
    faults: KnownFaults | None = None

    @model_validator(mode="after")
    def _one_seed(self) -> "TruthFile":
        if self.settings is not None and self.settings.seed != self.seed:
            raise ValueError(f"seed: {self.seed}, but that of the settings is {self.settings.seed}")
        return self

    @property
    def fingerprint(self) -> str:
        """The sha256 that names all that is known, whatever the file looks like."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @classmethod
    def of(cls, world: World, log: str | None = None, faults: KnownFaults | None = None) -> "TruthFile":
        """The file of a world; ``log`` is the fingerprint of what was drawn from it."""
        items, users = (names_of(prefix, np.arange(count)) for prefix, count in _sizes(world.settings))
        return cls(
            made_by="simulate", seed=world.settings.seed, settings=world.settings, plans=world.plans,
            cut_ms=cut_time_ms(), end_ms=world.settings.end_ms, world=world.fingerprint(), log=log,
            drifts=tuple(KnownDrift.of(drift, items, users) for drift in world.drifts), faults=faults,
        )  # fmt: skip


def write_truth(folder: Path, file: TruthFile) -> None:
    """Write ``truth.json`` and, where a drift affects many, their ids beside it."""
    spilled: list[pa.Table] = []
    drifts = tuple(_spill(drift, spilled) for drift in file.drifts)
    document = file.model_copy(update={"drifts": drifts}).model_dump(mode="json")
    (folder / "truth.json").write_text(json.dumps(document, indent=2) + "\n")
    if spilled:
        with pa.OSFile(str(folder / IDS_FILE), "wb") as sink, pa.ipc.new_file(sink, spilled[0].schema) as writer:
            writer.write_table(pa.concat_tables(spilled))


def read_truth(path: Path) -> TruthFile:
    """Read a truth file; ids that lie in the Arrow file are put into place.

    Raises:
        UserError: it cannot be read, or is no truth file of this version.
    """
    try:
        file = TruthFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a truth file, or the folder that holds it") from error
    except ValidationError as error:
        raise UserError(f"{path}: {first_complaint(error)}; simulate again") from error
    if all(IDS_FILE not in (drift.items, drift.users) for drift in file.drifts):
        return file
    try:
        with pa.memory_map(str(path.with_name(IDS_FILE))) as source:
            ids = pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path.with_name(IDS_FILE)}: cannot be read; keep it beside {path.name}, or simulate again") from error
    return file.model_copy(update={"drifts": tuple(_gather(drift, ids) for drift in file.drifts)})


def _sizes(settings: StreamSettings) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("i", settings.items), ("u", settings.users)


def _spill(drift: KnownDrift, spilled: list[pa.Table]) -> KnownDrift:
    changes = {}
    for field in ("items", "users"):
        ids = getattr(drift, field)
        if not isinstance(ids, str) and len(ids) > _INLINE:
            spilled.append(pa.table({"drift": [drift.id] * len(ids), "field": [field] * len(ids), "id": list(ids)}))
            changes[field] = IDS_FILE
    return drift.model_copy(update=changes)


def _gather(drift: KnownDrift, ids: pa.Table) -> KnownDrift:
    changes = {}
    for field in ("items", "users"):
        if getattr(drift, field) == IDS_FILE:
            mine = pc.and_(pc.equal(ids["drift"], drift.id), pc.equal(ids["field"], field))
            changes[field] = tuple(ids.filter(mine)["id"].to_pylist())
    return drift.model_copy(update=changes)
