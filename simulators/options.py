"""What a user may say of drifts in a stream, of sending it to Kafka, and of faults in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dynmm_core.errors import UserError


@dataclass(frozen=True)
class KafkaOptions:
    """Where and how the stream is sent.

    Parameters
    ----------
    to_kafka
        Send the stream to these brokers: host:port, several with commas between.
    topic
        The topic, which must exist; its partitions decide where each user's events go.
    format
        json sends an event per message, arrow up to a thousand events of a partition.
    speed
        Seconds of the stream per second on the wall, such as 3600 for an hour in a second; or max.
    part
        Send everything, or the online part alone.
    property
        A setting of librdkafka, key=value, such as security.protocol=SASL_SSL; repeatable. ${NAME} is taken from the environment.
    """

    to_kafka: str | None = None
    topic: str = "interactions"
    format: Literal["json", "arrow"] = "json"
    speed: str = "max"
    part: Literal["all", "online"] = "all"
    property: Annotated[tuple[str, ...], Parameter(negative="")] = ()

    def pace(self) -> float | None:
        """Seconds of the stream per second on the wall, None for no limit."""
        if self.speed == "max":
            return None
        try:
            speed = float(self.speed)
        except ValueError:
            speed = 0.0
        if not 0.0 < speed < float("inf"):
            raise UserError(f"--speed: {self.speed!r} is neither a number above 0 nor max")
        return speed

    def properties(self) -> dict[str, str]:
        """librdkafka's settings."""
        pairs = [given.partition("=") for given in self.property]
        for given, (name, equals, _) in zip(self.property, pairs, strict=True):
            if not (name.strip() and equals):
                raise UserError(f"--property: {given!r} is not key=value")
        return {name.strip(): value.strip() for name, _, value in pairs}


@dataclass(frozen=True)
class DriftOptions:
    """Which drifts there are, and where.

    Parameters
    ----------
    preset
        A schedule that comes with the simulator, demo by default; --list tells them all.
    schedule
        A TOML file with drifts, settings of the stream and faults; see docs/simulators.md.
    inject
        A prepared log: put the drifts into it, and simulate nothing.
    list
        Print the presets and stop.
    features
        Write text, image and audio features of the items, too.
    """

    preset: str | None = None
    schedule: Path | None = None
    inject: Path | None = None
    list: Annotated[bool, Parameter(negative="")] = False
    features: Annotated[bool, Parameter(negative="")] = False


@dataclass(frozen=True)
class FaultOptions:
    """Faults put into the stream; slide, allowed lateness and skew must be those of the flow that reads it.

    Parameters
    ----------
    faults
        A TOML file whose table faults says what share of the events is late, duplicate, out_of_order, malformed, future,
        oversized, without_event_id or roaming, and after which share of the stream partitions fall silent (idle_after);
        a schedule may have that table itself.
    partitions
        Partitions of the faulty log; those of the topic, or 4.
    slide
        Length of a slide.
    allowed_lateness
        How far events may come out of order within a partition.
    max_skew
        How far an event may lie after the time it was sent before it is dead; or off.
    """

    faults: Path | None = None
    partitions: int | None = None
    slide: str = "15m"
    allowed_lateness: str = "1m"
    max_skew: str = "1h"
