"""What a user asks of a simulated stream, read and checked."""

from pydantic import ValidationError

from dynmm_core.errors import UserError
from simulators.options import DriftOptions, FaultOptions, KafkaOptions
from simulators.schedule import Schedule, read_preset, read_schedule
from simulators.settings import StreamSettings


def read_asked(options: DriftOptions) -> Schedule:
    """The schedule that is asked for, by default that of the demo.

    Raises:
        UserError: there are two, or it is none.
    """
    if options.schedule is None:
        return read_preset("demo" if options.preset is None else options.preset)
    if options.preset is not None:
        raise UserError("--preset: a schedule is given too; leave one of the two out")
    return read_schedule(options.schedule)


def settings_of(schedule: Schedule, options: dict[str, int | None]) -> StreamSettings:
    """The settings of a stream: the options that are not None, then the schedule's, then the defaults.

    Raises:
        UserError: an option, or a setting of the schedule, is wrong.
    """
    try:
        return schedule.settings(**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + ("-".join(str(part) for part in first["loc"]) or "items").replace("_", "-")
        # What a check of ours says tells the value itself.
        value = "" if first["type"] == "value_error" else f"{first['input']!r}: "
        raise UserError(f"{name}: {value}{first['msg'].removeprefix('Value error, ')}") from error


def refuse_idle(kafka: KafkaOptions, faulty: FaultOptions, faults: bool) -> None:
    """Refuse options of sending and of faults where nothing is sent and nothing is faulty.

    Raises:
        UserError: there is one.
    """
    sends = kafka.to_kafka is not None
    groups: tuple[tuple[bool, str, KafkaOptions | FaultOptions, tuple[str, ...]], ...] = (
        (sends, "--to-kafka BROKERS", kafka, ("format", "speed", "property")),
        (sends or faults, "--to-kafka BROKERS or --faults FILE", kafka, ("topic", "part")),
        (sends or faults, "--to-kafka BROKERS or --faults FILE", faulty, ("partitions",)),
        (faults, "--faults FILE", faulty, ("slide", "allowed_lateness", "max_skew")),
    )
    for effective, partner, options, names in groups:
        for name in names:
            value = getattr(options, name)
            if not effective and value != getattr(type(options), name):
                told = ", ".join(value) if isinstance(value, tuple) else value
                raise UserError(f"--{name.replace('_', '-')}: {told} goes with {partner}; give both, or neither")
