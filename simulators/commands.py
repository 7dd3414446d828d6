"""The `dynmm simulate` command. What it needs is imported when it runs, the broker's client only to send."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from dynmm_core.console import print_json, print_table
from simulators.options import DriftOptions, FaultOptions, KafkaOptions

if TYPE_CHECKING:
    from simulators.faulty_log import FaultyLog
    from simulators.made import Made
    from simulators.schedule import Schedule

_DRIFTS, _KAFKA, _FAULTS = DriftOptions(), KafkaOptions(), FaultOptions()


def simulate(
    *,
    out: Path | None = None,
    seed: int = 0,
    events: int | None = None,
    users: int | None = None,
    items: int | None = None,
    online_hours: int | None = None,
    drifts: Annotated[DriftOptions, Parameter(name="*")] = _DRIFTS,
    kafka: Annotated[KafkaOptions, Parameter(name="*")] = _KAFKA,
    faulty: Annotated[FaultOptions, Parameter(name="*")] = _FAULTS,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Make a seeded stream with known drifts: as files ready for `dynmm data prepare`, in a Kafka topic, or both.

    Parameters
    ----------
    out
        Folder for interactions.parquet and truth.json, and for the faulty log where there is one; must not exist.
    seed
        The same seed gives the same bytes.
    events
        Events in all; the last 30 % are the online part. Where a schedule does not say, 160,000.
    users
        Users in all; 10,000.
    items
        Items in all; 3,000.
    online_hours
        One-hour windows of the online part, none of them empty; 72.
    json
        Print one JSON document instead of a table.
    """
    from dynmm_core.errors import UserError
    from simulators.asked import read_asked, refuse_idle
    from simulators.fault_file import inject_as_asked, known_faults, rates_asked
    from simulators.output import refuse_existing, write_made

    if drifts.list:
        _tell_presets(json)
        return
    begun = time.monotonic()
    if out is None and kafka.to_kafka is None:
        raise UserError("--out: missing; name a folder for the stream, or brokers with --to-kafka")
    if out is not None:
        refuse_existing(out)
    schedule = read_asked(drifts)
    rates = rates_asked(faulty.faults, schedule.faults)
    if rates is not None and kafka.format != "json":
        raise UserError(f"--format: {kafka.format}, but a faulty log is json; leave one of the two out")
    refuse_idle(kafka, faulty, rates is not None)
    sizes = {"events": events, "users": users, "items": items, "online_hours": online_hours}
    make = _maker(drifts, schedule, seed, sizes)
    partitions = _partitions(kafka, faulty) if rates is not None or kafka.to_kafka is not None else 0
    made = make()
    log = None
    if rates is not None:
        log = inject_as_asked(faulty, made.part(kafka.part), rates, seed, partitions)
        made = made.with_faults(known_faults(faulty, rates, partitions, log.expected))
    sent = {} if kafka.to_kafka is None else _send(kafka, made, log)
    if out is not None:
        write_made(out, made.table, made.truth, log, kafka.topic, _features(drifts, made))
    _tell(made, sent, log, out, time.monotonic() - begun, json)


def _maker(drifts: DriftOptions, schedule: "Schedule", seed: int, sizes: dict[str, int | None]) -> Any:
    """What makes the log, once all that was asked for is known to be sound."""
    from dynmm_core.errors import UserError
    from simulators.asked import settings_of
    from simulators.made import Made

    if drifts.inject is None:
        settings = settings_of(schedule, {"seed": seed, **sizes})
        return lambda: Made.drawn(settings, schedule.drift)
    given = [name for name, size in sizes.items() if size is not None] + ["features"] * drifts.features
    if given:
        raise UserError(f"--{given[0].replace('_', '-')}: is for a simulated stream, not for --inject; leave it out")
    log = drifts.inject
    return lambda: Made.injected(log, schedule.drift, seed)


def _features(drifts: DriftOptions, made: "Made") -> Any:
    from simulators.features import features_table

    return features_table(made.world) if drifts.features and made.world is not None else None


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


def _send(kafka: KafkaOptions, made: "Made", log: "FaultyLog | None") -> dict[str, Any]:
    from simulators.kafka_output import produce_log, produce_messages
    from simulators.sender import open_producer

    assert kafka.to_kafka is not None
    properties = kafka.properties()
    if log is None:
        sent = produce_log(
            made.part(kafka.part), kafka.to_kafka, kafka.topic,
            format=kafka.format, speed=kafka.pace(), properties=properties,
        )  # fmt: skip
    else:
        sent = produce_messages(open_producer(kafka.to_kafka, properties), kafka.topic, log, kafka.pace())
    return {"topic": kafka.topic, "messages_sent": sent.messages, "events_sent": sent.events}


def _tell(
    made: "Made", sent: dict[str, Any], log: "FaultyLog | None", out: Path | None, seconds: float, json: bool
) -> None:  # fmt: skip
    import pyarrow.compute as pc

    facts: dict[str, Any] = {
        "events": made.table.num_rows, "users": pc.count_distinct(made.table["user_id"]).as_py(),
        "items": pc.count_distinct(made.table["item_id"]).as_py(), "drifts": [drift.kind for drift in made.truth.drifts],
        **sent, "seconds": round(seconds, 2), "out": None if out is None else str(out),
    }  # fmt: skip
    expected = None if log is None else asdict(log.expected)
    if json:
        print_json(facts if expected is None else {**facts, "expected": expected})
        return
    print_table(["stream", "value"], [[name, str(value)] for name, value in facts.items() if value is not None])
    if expected is not None:
        print_table(["to be counted", "events"], [[name, f"{count:,}"] for name, count in expected.items()])


def _tell_presets(json: bool) -> None:
    from simulators.schedule import preset_names, read_preset

    presets = {name: read_preset(name) for name in preset_names()}
    if json:
        print_json([
            {"preset": name, "drifts": [plan.kind for plan in preset.drift], "about": preset.about}
            for name, preset in presets.items()
        ])  # fmt: skip
        return
    print_table(["preset", "about"], [[name, preset.about] for name, preset in presets.items()])
