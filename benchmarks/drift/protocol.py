"""A protocol of the benchmark in TOML: which drifts, which models, which seeds, how large, and what is to hold."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmarks.drift.names import ADAPTED, DAY_OLD, NULL, STATIC
from dynmm_core.adapt.settings import COSTLY_MODELS, MODELS, ModelName
from dynmm_core.errors import UserError
from dynmm_core.toml_file import first_complaint, read_toml
from replay.results import SHORT_BLOCK
from simulators.schedule import preset_names, read_preset
from simulators.settings import StreamSettings

_NAME = r"^[\w-]+$"
_NEEDED = (STATIC, DAY_OLD, ADAPTED)


class Sizes(BaseModel):
    """How large a stream is, under the names of `dynmm simulate`; None leaves it to the preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: int | None = None
    users: int | None = None
    items: int | None = None
    online_hours: int | None = None

    def over(self, other: "Sizes") -> dict[str, int]:
        """These sizes, and where they are silent the ``other`` ones."""
        return {**other.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)}


class _Stream(BaseModel):
    """One preset, with sizes and models of its own where it has them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    sizes: Sizes = Sizes()
    models: tuple[ModelName, ...] | None = None

    @model_validator(mode="after")
    def _known(self) -> "_Stream":
        if self.preset not in preset_names():
            raise ValueError(f"preset: {self.preset!r} is none of {', '.join(preset_names())}")
        return self


class Equivalence(BaseModel):
    """The test that recency is worth nothing on the null stream: within which share of static's NDCG, on how many events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(gt=0.0, lt=1.0)
    events: int = Field(ge=1)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=_NAME)
    seeds: tuple[int, ...] = Field(min_length=1)
    profile: Literal["paper", "demo"] = "demo"
    models: tuple[ModelName, ...]
    sizes: Sizes = Sizes()
    stream: tuple[_Stream, ...] = Field(min_length=1)
    equivalence: Equivalence | None = None
    fresher_is_better: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> "_File":
        _once("seeds", [str(seed) for seed in self.seeds])
        presets = [stream.preset for stream in self.stream]
        _once("stream", presets)
        for seed in self.seeds:
            if not 0 <= seed < 2**31:
                raise ValueError(f"seeds: {seed} does not lie in 0 to {2**31 - 1}")
        for models in (self.models, *(stream.models for stream in self.stream if stream.models is not None)):
            _once("models", models)
            if missing := [name for name in _NEEDED if name not in models]:
                raise ValueError(f"models: {', '.join(missing)} missing; the freshness gain needs {', '.join(_NEEDED)}")
        for name in (*self.fresher_is_better, *([NULL] if self.equivalence else [])):
            if name not in presets:
                raise ValueError(f"stream: {name} missing; it is to be tested")
        return self


@dataclass(frozen=True)
class Cell:
    """One stream with one seed: what is drawn, and who ranks it. ``sizes`` are options of `dynmm simulate`."""

    protocol: str
    preset: str
    seed: int
    profile: str
    models: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """The name of its file, unique in its protocol."""
        return f"{self.preset}.s{self.seed}"

    @property
    def costly(self) -> bool:
        """Whether a costly model is among those that rank."""
        return not set(COSTLY_MODELS).isdisjoint(self.models)

    @property
    def stream(self) -> str:
        """The folder of its stream, shared by cells that draw alike."""
        return f"{self.preset}.s{self.seed}.{_digest([self.sizes])}"

    @property
    def run(self) -> str:
        """The folder of its run."""
        return f"{self.preset}.s{self.seed}.{_digest([self.sizes, self.models, self.profile])}"

    def to_json(self) -> dict[str, Any]:
        """What decides the figures."""
        return {
            "preset": self.preset, "seed": self.seed, "profile": self.profile, "sizes": dict(self.sizes),
            "models": list(self.models),
        }  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """A checked protocol: its cells in order, preset by preset, and what is to hold."""

    name: str
    cells: tuple[Cell, ...]
    equivalence: Equivalence | None
    fresher_is_better: tuple[str, ...]


def read_protocol(path: Path) -> Protocol:
    """Read a protocol.

    Raises:
        UserError: no file, not TOML, an entry that a protocol does not have, or a stream that cannot be drawn.
    """
    file = read_toml(path, _File, "--protocol")
    return Protocol(file.name, tuple(_cells(file, path)), file.equivalence, file.fresher_is_better)


def _cells(file: _File, path: Path) -> Iterator[Cell]:
    for stream in file.stream:
        sizes = stream.sizes.over(file.sizes)
        _check_drawable(stream.preset, sizes, path)
        chosen = file.models if stream.models is None else stream.models
        models = tuple(name for name in MODELS if name in chosen)
        for seed in file.seeds:
            yield Cell(file.name, stream.preset, seed, file.profile, models, tuple(sorted(sizes.items())))


def _check_drawable(preset: str, sizes: dict[str, int], path: Path) -> None:
    """Refuse sizes that the simulator would refuse, before anything runs."""
    try:
        settings: StreamSettings = read_preset(preset).settings(**cast(dict[str, int | None], sizes))
    except ValidationError as error:
        raise UserError(f"--protocol: {path}: {preset}: sizes.{first_complaint(error)}; correct it") from error
    hours, least = settings.online_hours, 2 * SHORT_BLOCK
    if hours < least:
        raise UserError(f"--protocol: {path}: {preset}: sizes.online_hours = {hours}: an interval takes {least} or more")


def _once(field: str, names: Any) -> None:
    for name in names:
        if list(names).count(name) > 1:
            raise ValueError(f"{field}: {name} stands there twice; leave one out")


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
