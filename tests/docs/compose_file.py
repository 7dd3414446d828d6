"""The parts of the Compose Specification that compose.yaml uses, strict about anything else."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

Duration = Annotated[str, Field(pattern=r"^(\d+(h|m|s|ms))+$")]
Size = Annotated[str, Field(pattern=r"^\d+(k|m|g)$")]
Port = Annotated[str, Field(pattern=r"^127\.0\.0\.1:\d+:\d+$")]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Healthcheck(_Strict):
    """How a container is asked whether it is well; or that it is not asked."""

    test: list[str] | None = None
    interval: Duration | None = None
    timeout: Duration | None = None
    retries: int | None = None
    start_period: Duration | None = None
    disable: bool = False

    @model_validator(mode="after")
    def _asks_or_not(self) -> "Healthcheck":
        if self.disable == (self.test is not None):
            raise ValueError("either a test, or disable")
        if self.test is not None and self.test[0] not in ("CMD", "CMD-SHELL"):
            raise ValueError("a test begins with CMD or CMD-SHELL")
        return self


class Dependency(_Strict):
    """What another service must have reached first."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Bind(_Strict):
    """Options of a folder that is mounted."""

    create_host_path: bool


class Mount(_Strict):
    """A mount in its long form."""

    type: Literal["bind", "volume"]
    source: str
    target: str
    read_only: bool
    bind: Bind


class Build(_Strict):
    """Where an image comes from."""

    context: str


class Service(_Strict):
    """One service; what compose.yaml does not use is not here and so refused."""

    image: Annotated[str, Field(pattern=r"^[a-z0-9./-]+:v?\d+\.\d+\.\d+$")]
    build: Build | None = None
    command: list[str] | None = None
    hostname: Name | None = None
    init: bool = False
    restart: Literal["no", "unless-stopped", "always", "on-failure"]
    stop_grace_period: Duration | None = None
    mem_limit: Size
    read_only: bool = False
    cap_drop: list[str] = []
    security_opt: list[str] = []
    tmpfs: list[str] = []
    ports: list[Port] = []
    environment: dict[str, str] = {}
    volumes: list[str | Mount] = []
    depends_on: dict[Name, Dependency] = {}
    profiles: list[str] = []
    healthcheck: Healthcheck

    @property
    def mounts(self) -> list[tuple[str, str]]:
        """Source and target of everything mounted."""
        return [
            (mount.source, mount.target) if isinstance(mount, Mount) else (mount.split(":")[0], mount.split(":")[1])
            for mount in self.volumes
        ]


class ComposeFile(_Strict):
    """The whole file, but for the fragments under ``x-`` that the services have taken over."""

    name: Name
    services: dict[Name, Service]
    volumes: dict[Name, None]

    @model_validator(mode="after")
    def _names_exist(self) -> "ComposeFile":
        for name, service in self.services.items():
            for needed, dependency in service.depends_on.items():
                if needed not in self.services:
                    raise ValueError(f"{name} depends on {needed}, which is no service")
                if dependency.condition == "service_healthy" and self.services[needed].healthcheck.disable:
                    raise ValueError(f"{name} waits for the health of {needed}, which is not asked for it")
            for source, _ in service.mounts:
                if not source.startswith((".", "/", "${")) and source not in self.volumes:
                    raise ValueError(f"{name} mounts {source}, which is no volume")
        return self


def read_compose(path: Path) -> ComposeFile:
    """Read a compose file."""
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return ComposeFile.model_validate({key: part for key, part in document.items() if not key.startswith("x-")})
