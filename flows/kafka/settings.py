"""How to reach the broker, and which topics are whose."""

import os
import re

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from dynmm_core.errors import UserError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BROKER = re.compile(r"([A-Z_]+://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_ROLES = ("interactions", "summaries", "dead_letters", "late_events", "versions")
# A reader of uncommitted messages, or a producer that reorders, would make other slides; some of these cannot work at all.
_OURS = frozenset(
    {
        "bootstrap.servers", "metadata.broker.list", "group.id", "enable.auto.commit", "auto.offset.reset",
        "enable.partition.eof", "isolation.level", "enable.idempotence", "delivery.timeout.ms", "transactional.id",
    }
)  # fmt: skip


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

    @field_validator("bootstrap")
    @classmethod
    def _brokers(cls, bootstrap: str) -> str:
        for broker in bootstrap.split(","):
            found = _BROKER.fullmatch(broker.strip())
            if found is None or not 0 < int(found["port"]) < 65_536:
                raise ValueError(f"{broker!r} is no broker's address; write host:port, several with commas between")
        return bootstrap

    @model_validator(mode="after")
    def _topics_apart(self) -> "KafkaSettings":
        seen: dict[str, str] = {}
        for role in _ROLES:
            name = getattr(self, role)
            if not _TOPIC.fullmatch(name):
                raise ValueError(f"{role}: {name!r} is no topic's name; write letters, digits, and . _ -")
            if (other := seen.setdefault(name, role)) != role:
                raise ValueError(f"{role}: {name} is the topic of {other}, too; give every kind of message its own")
        return self

    @field_validator("properties")
    @classmethod
    def _not_ours(cls, properties: dict[str, str]) -> dict[str, str]:
        if taken := sorted(_OURS & set(properties)):
            raise ValueError(f"{taken[0]} is set by the flow itself; leave it out")
        return properties

    def client(self) -> dict[str, str]:
        """The properties of every client, secrets filled in.

        Raises:
            UserError: a variable is not set.
        """
        filled = {name: _filled(name, value) for name, value in self.properties.items()}
        return {"bootstrap.servers": self.bootstrap, **filled}


def _filled(name: str, value: str) -> str:
    return _VARIABLE.sub(lambda found: _environment(name, found[1]), value)


def _environment(name: str, variable: str) -> str:
    value = os.environ.get(variable)
    if value is None:
        raise UserError(f"kafka.properties.{name}: the environment has no {variable}; export it")
    return value
