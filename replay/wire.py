"""What a user may say of a replay's way through Kafka."""

from dataclasses import dataclass, field
from typing import Literal

from dynmm_core.errors import UserError
from simulators.options import KafkaOptions


@dataclass(frozen=True)
class Wire:
    """How the log travels: brokers, pace (seconds of the log per second, None as fast as possible), form, what stays behind."""

    bootstrap: str
    speed: float | None = None
    wire: Literal["json", "arrow"] = "json"
    properties: dict[str, str] = field(default_factory=dict)
    keep_topics: bool = False

    @classmethod
    def of(
        cls, via_kafka: str | None, speed: str | None, wire: Literal["json", "arrow"] | None,
        properties: tuple[str, ...], keep_topics: bool,
    ) -> "Wire | None":  # fmt: skip
        """Return what the command line asks for, None for a replay without a broker.

        Raises:
            UserError: a value is wrong, or goes with --via-kafka and stands without it.
        """
        if via_kafka is None:
            given = {"--speed": speed, "--wire": wire, "--property": properties, "--keep-topics": keep_topics}
            for option, value in given.items():
                if value:
                    raise UserError(f"{option}: goes with --via-kafka BOOTSTRAP; give both, or neither")
            return None
        options = KafkaOptions(to_kafka=via_kafka, speed=speed or "max", property=properties)
        return cls(via_kafka, options.pace(), wire or "json", options.properties(), keep_topics)
