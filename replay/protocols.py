"""Protocol files: a named experiment in TOML, read by `dynmm replay --protocol` and `dynmm bench replay`."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dynmm_core.toml_file import read_toml

DEFAULT_NAME = "default"


class ProtocolData(BaseModel):
    """One data set of a protocol: its folder's name under the data folder, and options that hold for it alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    replay: dict[str, Any] = {}


class ProtocolPretrain(BaseModel):
    """How the bundles of a protocol are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Literal["paper", "demo"] = "paper"
    seed: int = Field(default=0, ge=0)


class ProtocolFile(BaseModel):
    """A protocol: ``replay`` holds options of `dynmm replay`, checked where they are used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    replay: dict[str, Any] = {}
    pretrain: ProtocolPretrain = ProtocolPretrain()
    data: tuple[ProtocolData, ...] = ()


def read_protocol(path: Path) -> ProtocolFile:
    """Read a protocol file.

    Raises:
        UserError: no file, not TOML, or an entry that a protocol does not have.
    """
    return read_toml(path, ProtocolFile, "--protocol")
