"""Faults as a file and options say them, put into a stream."""

import tomllib
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from dynmm_core.errors import UserError
from dynmm_core.quantities import parse_duration_ms
from dynmm_core.toml_file import first_complaint
from simulators.faults import FaultRates, inject
from simulators.faulty_log import ExpectedCounts, FaultyLog
from simulators.options import FaultOptions
from simulators.truth_file import KnownFaults


def inject_as_asked(options: FaultOptions, events: pa.Table, rates: FaultRates, seed: int, partitions: int) -> FaultyLog:
    """Put the faults into events in time order.

    Raises:
        UserError: an option is wrong, or a rate asks the impossible.
    """
    slide_ms = _duration_ms("slide", options.slide)
    lateness_ms = _duration_ms("allowed-lateness", options.allowed_lateness)
    skew_ms = None if options.max_skew == "off" else _duration_ms("max-skew", options.max_skew)
    if not slide_ms:
        raise UserError("--slide: 0 is no length; write one such as 15m")
    try:
        return inject(events, rates, seed, partitions, slide_ms, lateness_ms, skew_ms)
    except ValueError as error:
        raise UserError(f"--faults: {error}") from error


def rates_asked(path: Path | None, scheduled: FaultRates | None) -> FaultRates | None:
    """The rates of a file or of a schedule, None where neither has any.

    Raises:
        UserError: both have some, or the file is wrong.
    """
    if path is not None and scheduled is not None:
        raise UserError("--faults: the schedule has a table [faults] already; leave one of the two out")
    return scheduled if path is None else read_rates(path)


def known_faults(options: FaultOptions, rates: FaultRates, partitions: int, expected: ExpectedCounts) -> KnownFaults:
    """What the truth file says of faults."""
    return KnownFaults(
        rates=rates, partitions=partitions, slide=options.slide, allowed_lateness=options.allowed_lateness,
        max_skew=options.max_skew, expected=expected,
    )  # fmt: skip


def read_rates(path: Path) -> FaultRates:
    """The table ``faults`` of a TOML file.

    Raises:
        UserError: the file cannot be read, has another table, or a rate is none.
    """
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(
            f"--faults: {path}: {getattr(error, 'strerror', None) or error}; name a TOML file with a table [faults]"
        ) from error
    if list(document) != ["faults"] or not isinstance(document["faults"], dict):
        raise UserError(f"--faults: {path}: has {', '.join(document) or 'nothing'}; it must be one table, [faults]")
    try:
        return FaultRates.model_validate(document["faults"])
    except ValidationError as error:
        raise UserError(f"--faults: {path}: faults.{first_complaint(error)}") from error


def _duration_ms(option: str, text: str) -> int:
    try:
        return parse_duration_ms(text)
    except ValueError as error:
        raise UserError(f"--{option}: {error}") from error
