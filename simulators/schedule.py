"""A schedule: which drifts a stream has, when, on whom and how much, as a TOML file says it."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from dynmm_core.errors import UserError
from dynmm_core.quantities import parse_duration_ms
from dynmm_core.times import HOUR_MS
from dynmm_core.toml_file import first_complaint
from simulators.faults import FaultRates
from simulators.settings import Share, StreamSettings

Kind = Literal[
    "abrupt", "gradual", "incremental", "recurring", "popularity_burst", "item_birth", "item_death", "cohort_shift",
    "modality_outage", "label_noise", "null",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
MODALITIES = ("text", "image", "audio")
REDEALT = ("abrupt", "gradual", "incremental", "recurring")
_BOUNDED = ("gradual", "incremental", "recurring", "popularity_burst", "modality_outage")
_CALM = ("daily_cycle", "weekly_cycle", "burstiness", "newcomers")


def _check_moment(value: Any) -> Any:
    if isinstance(value, str):
        parse_duration_ms(value)
    elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{value!r} is neither a share of the online part, 0 to 1, nor a time into it such as 24h")
    return value


def _check_scope(value: Any) -> Any:
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    if value == "all" or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1):
        return value
    raise ValueError(f'{value!r} is neither "all" nor a share above 0, at most 1, nor a list of ids')


Moment = Annotated[float | str, BeforeValidator(_check_moment)]
Scope = Annotated[float | str | tuple[str, ...], BeforeValidator(_check_scope)]


class DriftPlan(BaseModel):
    """One drift: its kind, when it starts and ends in the online part, whom it affects, and how much, from 0 to 1.

    start, end, period: a share of the online part, taken to whole hours, or a time into it such as "24h". items, users: "all",
    a share, or ids; topics and segments narrow them. period: of a recurring drift, one visit of each concept. modality: of
    an outage. What magnitude means for each kind is told in docs/simulators.md.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    id: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$")
    start: Moment = 0.0
    end: Moment | None = None
    magnitude: Share = 1.0
    items: Scope = "all"
    topics: tuple[int, ...] | None = None
    users: Scope = "all"
    segments: tuple[int, ...] | None = None
    period: Moment | None = None
    modality: Literal["text", "image", "audio"] | None = None

    @model_validator(mode="after")
    def _whole(self) -> "DriftPlan":
        if self.kind in _BOUNDED and self.end is None:
            raise ValueError(f"end: missing; a drift of kind {self.kind} has one")
        if (self.kind == "recurring") != (self.period is not None):
            raise ValueError("period: a recurring drift has one, and no other does")
        if (self.kind == "modality_outage") != (self.modality is not None):
            raise ValueError("modality: a modality_outage has one, and no other drift does")
        return self


class Schedule(BaseModel):
    """A stream's settings that are not the defaults, its drifts in the order in which they are applied, and its faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = ""
    stream: dict[str, int | float] = {}
    drift: tuple[DriftPlan, ...] = ()
    faults: FaultRates | None = None

    @model_validator(mode="after")
    def _named(self) -> "Schedule":
        if "seed" in self.stream:
            raise ValueError("stream.seed: is an option of the command; leave it out")
        named = tuple(
            plan if plan.id else plan.model_copy(update={"id": f"{plan.kind}-{number}"})
            for number, plan in enumerate(self.drift, start=1)
        )
        names = [plan.id for plan in named]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"drift: two are called {name}; give each an id of its own")
        object.__setattr__(self, "drift", named)
        self._refuse_a_null_that_is_none()
        return self

    def _refuse_a_null_that_is_none(self) -> None:
        if all(plan.kind != "null" for plan in self.drift):
            return
        if len(self.drift) > 1:
            raise ValueError("drift: null stands for no drift at all; leave it or the others out")
        for name in _CALM:
            if self.stream.get(name, 0):
                raise ValueError(f"stream.{name}: {self.stream[name]}, but null has no cycles, bursts or newcomers; make it 0")

    def settings(self, **options: int | None) -> StreamSettings:
        """The settings of a stream: the options that are given, then the schedule's, then the defaults.

        Raises:
            UserError: a setting of the schedule is wrong.
            ValidationError: an option is.
        """
        calm: dict[str, Any] = dict.fromkeys(_CALM, 0) if [plan.kind for plan in self.drift] == ["null"] else {}
        values = {**calm, **self.stream}
        try:
            StreamSettings.model_validate(values)
        except ValidationError as error:
            raise UserError(f"--schedule: stream.{first_complaint(error)}") from error
        return StreamSettings.model_validate({**values, **{name: value for name, value in options.items() if value is not None}})


def read_schedule(path: Path) -> Schedule:
    """Read a schedule.

    Raises:
        UserError: the file cannot be read, or says what cannot be.
    """
    try:
        return parse_schedule(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--schedule: {path}: {getattr(error, 'strerror', None) or error}; name a TOML file, or give --preset"
        ) from error


def parse_schedule(text: str, name: str) -> Schedule:
    """The schedule in a TOML text; ``name`` is what errors call it.

    Raises:
        UserError: it is none.
    """
    try:
        return Schedule.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"--schedule: {name}: {error}") from error
    except ValidationError as error:
        raise UserError(f"--schedule: {name}: {first_complaint(error)}") from error


def preset_names() -> list[str]:
    """Names of the schedules that come with the simulator."""
    return sorted(file.name.removesuffix(".toml") for file in _presets().iterdir() if file.name.endswith(".toml"))


def read_preset(name: str) -> Schedule:
    """Read a schedule that comes with the simulator.

    Raises:
        UserError: there is none of that name.
    """
    if name not in preset_names():
        raise UserError(f"--preset: {name} is none of {', '.join(preset_names())}")
    return parse_schedule((_presets() / f"{name}.toml").read_text(), name)


def offset_ms(moment: float | str, online_ms: int) -> int:
    """A moment of a schedule as ms behind the cut; a share of the online part is rounded to whole hours if that has six."""
    if isinstance(moment, str):
        return parse_duration_ms(moment)
    unit_ms = HOUR_MS if online_ms >= 6 * HOUR_MS else 1
    return min(online_ms, round(moment * online_ms / unit_ms) * unit_ms)


def _presets() -> Any:
    return files("simulators") / "presets"
