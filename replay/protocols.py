"""Protocol files: a named experiment in TOML, read by `dynmm replay --protocol` and `dynmm bench replay`."""

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dynmm_core.errors import UserError

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
    try:
        return ProtocolFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"--protocol: {path} cannot be read ({error.strerror}); name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--protocol: {path} is not valid TOML ({error}); correct it") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"--protocol: {path}: {field} = {first['input']!r}: {first['msg']}; correct it") from error
