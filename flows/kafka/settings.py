"""How to reach the broker, and which topics are whose."""

import os
import re

from pydantic import BaseModel, ConfigDict, field_validator

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OURS = frozenset({"bootstrap.servers", "group.id", "enable.auto.commit", "auto.offset.reset", "enable.partition.eof"})


class KafkaSettings(BaseModel):
    """Broker and topics of one run. ``properties`` go to librdkafka as they are, ``${NAME}`` taken from the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap: str
    interactions: str = "interactions"
    summaries: str = "slide-summaries"
    dead_letters: str = "dead-letters"
    late_events: str = "late-events"
    versions: str = "latent-versions"
    properties: dict[str, str] = {}

    @field_validator("properties")
    @classmethod
    def _not_ours(cls, properties: dict[str, str]) -> dict[str, str]:
        if taken := sorted(_OURS & set(properties)):
            raise ValueError(f"{taken[0]} is set by the flow itself; leave it out")
        return properties

    def client(self) -> dict[str, str]:
        """The properties of every client, secrets filled in.

        Raises:
            ValueError: a variable is not set.
        """
        filled = {name: _filled(name, value) for name, value in self.properties.items()}
        return {"bootstrap.servers": self.bootstrap, **filled}


def _filled(name: str, value: str) -> str:
    return _VARIABLE.sub(lambda found: _environment(name, found[1]), value)


def _environment(name: str, variable: str) -> str:
    value = os.environ.get(variable)
    if value is None:
        raise ValueError(f"kafka.properties.{name}: the environment has no {variable}; export it")
    return value
