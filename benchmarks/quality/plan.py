"""A plan of cells in TOML: which logs, bundles, seeds and options make up the evaluation."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dynmm_core.errors import UserError
from dynmm_core.toml_file import read_toml

_NAME = r"^[\w.-]+$"


class _Runs(BaseModel):
    """Runs of one log over one bundle: one cell per seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(min_length=1, pattern=_NAME)
    profile: Literal["paper", "demo"] = "demo"
    bundle_seed: int = Field(ge=0)
    seeds: tuple[int, ...] = Field(min_length=1)
    tag: str = Field(default="", pattern=r"^[\w-]*$")
    pretrain: tuple[str, ...] = ()
    replay: dict[str, str | int | bool] = {}


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=_NAME)
    runs: tuple[_Runs, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Cell:
    """One run of the evaluation; ``pretrain`` are further words of `dynmm pretrain`, ``replay`` options of `dynmm replay`."""

    data: str
    profile: str
    bundle_seed: int
    seed: int
    tag: str
    pretrain: tuple[str, ...]
    replay: tuple[tuple[str, Any], ...]

    @property
    def bundle(self) -> str:
        """The folder of its bundle, shared by cells that pre-train alike."""
        words = [word.removeprefix("--") for word in self.pretrain]
        return ".".join([self.data, self.profile, f"b{self.bundle_seed}", *words])

    @property
    def name(self) -> str:
        """The name of its file and of its run folder."""
        return ".".join([self.bundle, f"s{self.seed}", *([self.tag] if self.tag else [])])

    def replay_words(self) -> list[str]:
        """Its options as words of the command line."""
        words: list[str] = []
        for name, value in self.replay:
            flag = "--" + name.replace("_", "-")
            words += ([flag] if value else ["--no-" + name.replace("_", "-")]) if isinstance(value, bool) else [flag, str(value)]
        return words


def read_plan(path: Path) -> list[Cell]:
    """Return the cells of a plan, in its order.

    Raises:
        UserError: no file, not TOML, an entry that a plan does not have, or two cells of one name.
    """
    plan = read_toml(path, _Plan, "--plan")
    cells = list(_cells(plan))
    (name, count), *_ = Counter(cell.name for cell in cells).most_common(1)
    if count > 1:
        raise UserError(f"--plan: {path}: {count} cells are named {name}; give one of them a tag")
    return cells


def _cells(plan: _Plan) -> Iterator[Cell]:
    for runs in plan.runs:
        for seed in runs.seeds:
            replay = tuple(sorted(runs.replay.items()))
            yield Cell(runs.data, runs.profile, runs.bundle_seed, seed, runs.tag, runs.pretrain, replay)
