"""The `dynmm simulate` command. What it needs is imported when it runs, the broker's client only to send."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from dynmm_core.console import print_json, print_table
from simulators.options import FaultOptions, KafkaOptions

if TYPE_CHECKING:
    from simulators.faulty_log import FaultyLog
    from simulators.stream import Stream
    from simulators.world import StreamSettings

_KAFKA, _FAULTS = KafkaOptions(), FaultOptions()


def simulate(
    *,
    out: Path | None = None,
    seed: int = 0,
    events: int = 160_000,
    users: int = 10_000,
    items: int = 3_000,
    online_hours: int = 72,
    kafka: Annotated[KafkaOptions, Parameter(name="*")] = _KAFKA,
    faulty: Annotated[FaultOptions, Parameter(name="*")] = _FAULTS,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make a seeded stream with two known drifts: as files ready for `dynmm data prepare`, in a Kafka topic, or both.

    Parameters
    ----------
    out
        Folder for interactions.parquet and truth.json, and for the faulty log where there is one; must not exist.
    seed
        The same seed gives the same bytes.
    events
        Events in all; the last 30 % are the online part.
    users
        Users in all.
    items
        Items in all; a twentieth of them are born in the online part.
    online_hours
        One-hour windows of the online part, none of them empty.
    json
        Print one JSON document instead of a table.
    """
    from dynmm_core.errors import UserError
    from simulators.fault_file import inject_as_asked, read_rates
    from simulators.output import refuse_existing, write_files
    from simulators.stream import draw_stream
    from simulators.world import make_world

    begun = time.monotonic()
    settings = _settings(seed=seed, events=events, users=users, items=items, online_hours=online_hours)
    if out is None and kafka.to_kafka is None:
        raise UserError("--out: missing; name a folder for the stream, or brokers with --to-kafka")
    if out is not None:
        refuse_existing(out)
    rates = None if faulty.faults is None else read_rates(faulty.faults)
    if rates is not None and kafka.format != "json":
        raise UserError(f"--format: {kafka.format}, but a faulty log is json; leave one of the two out")
    partitions = _partitions(kafka, faulty) if rates is not None or kafka.to_kafka is not None else 0
    world = make_world(settings)
    stream = draw_stream(world)
    log = None if rates is None else inject_as_asked(faulty, _part(stream, kafka.part), rates, seed, partitions)
    sent = {} if kafka.to_kafka is None else _send(kafka, stream, log)
    if out is not None:
        write_files(out, world, stream, log, kafka.topic)
    _tell(stream, [drift.kind for drift in world.drifts], sent, log, out, time.monotonic() - begun, json)


def _settings(**values: int) -> "StreamSettings":
    from pydantic import ValidationError

    from dynmm_core.errors import UserError
    from simulators.world import StreamSettings

    try:
        return StreamSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + ("-".join(str(part) for part in first["loc"]) or "items").replace("_", "-")
        raise UserError(f"{name}: {first['msg']}") from error


def _partitions(kafka: KafkaOptions, faulty: FaultOptions) -> int:
    """The topic's partitions, or those asked for where nothing is sent."""
    from dynmm_core.errors import UserError

    kafka.pace()  # a wrong speed is told before a broker is asked
    if kafka.to_kafka is None:
        return 4 if faulty.partitions is None else faulty.partitions
    from simulators.sender import count_partitions, open_producer

    found = count_partitions(open_producer(kafka.to_kafka, kafka.properties()), kafka.topic)
    if faulty.partitions not in (None, found):
        raise UserError(f"--partitions: {faulty.partitions}, but {kafka.topic} has {found}; leave it out")
    return found


def _part(stream: "Stream", part: str) -> Any:
    from simulators.output import as_table
    from simulators.stream import cut_time_ms

    first = 0 if part == "all" else int((stream.event_time_ms < cut_time_ms()).sum())
    return as_table(stream).slice(first)


def _send(kafka: KafkaOptions, stream: "Stream", log: "FaultyLog | None") -> dict[str, Any]:
    from simulators.kafka_output import produce_log, produce_messages
    from simulators.sender import open_producer

    assert kafka.to_kafka is not None
    properties = kafka.properties()
    if log is None:
        sent = produce_log(
            _part(stream, kafka.part), kafka.to_kafka, kafka.topic,
            format=kafka.format, speed=kafka.pace(), properties=properties,
        )  # fmt: skip
    else:
        sent = produce_messages(open_producer(kafka.to_kafka, properties), kafka.topic, log, kafka.pace())
    return {"topic": kafka.topic, "messages_sent": sent.messages, "events_sent": sent.events}


def _tell(
    stream: "Stream",
    drifts: list[str],
    sent: dict[str, Any],
    log: "FaultyLog | None",
    out: Path | None,
    seconds: float,
    json: bool,
) -> None:
    facts: dict[str, Any] = {
        "events": len(stream.user), "users": len(set(stream.user.tolist())), "items": len(set(stream.item.tolist())),
        "drifts": drifts, **sent, "seconds": round(seconds, 2), "out": None if out is None else str(out),
    }  # fmt: skip
    expected = None if log is None else asdict(log.expected)
    if json:
        print_json(facts if expected is None else {**facts, "expected": expected})
        return
    print_table(["stream", "value"], [[name, str(value)] for name, value in facts.items() if value is not None])
    if expected is not None:
        print_table(["to be counted", "events"], [[name, f"{count:,}"] for name, count in expected.items()])
