"""What a user asks of a simulated stream, read and checked."""

from pydantic import ValidationError

from dynmm_core.errors import UserError
from simulators.options import DriftOptions
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
