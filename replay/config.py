"""What a replay may be told, what it resolves to, and the hash that names the result's every cause.

Options come from the command line, then from a protocol file, then from the defaults below. Resolving adds what data
and bundle decide. Not in the hash, because no version may depend on it: batch size, processes, partitions, where files
lie, wall clock, detectors of drift. Library versions stand beside the hash: a run is resumed only under the ones it began with.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from dynmm_core.adapt.settings import DEFAULT_MODELS, MODELS, ModelName
from dynmm_core.errors import UserError
from dynmm_core.metrics.drift.detectors import DETECTORS, DetectorName, parse_detectors
from dynmm_core.model.online import OnlineOptions
from dynmm_core.names import DeviceName, choose
from dynmm_core.quantities import DurationMs, TimeMs, format_duration
from dynmm_core.times import DAY_MS
from dynmm_core.windows.horizons import PANE_MS
from replay.splits import Split

CONFIG_SCHEMA_VERSION = 2
RUN_NAME = "replay"
# Fields that came after results had been published: left at their defaults they are in no hash.
_LATER = ("run_name", "max_train_events", "allowed_lateness_ms")
_LIBRARIES = ("torch", "numpy", "pyarrow", "bytewax", "deltalake", "dynmm-stream")


def _whole_panes(duration_ms: int) -> int:
    if duration_ms % PANE_MS or not PANE_MS <= duration_ms <= DAY_MS:
        raise ValueError(f"{format_duration(duration_ms)} is no multiple of 5m between 5m and 24h")
    return duration_ms


def _model_names(value: Any) -> tuple[str, ...]:
    # The order of columns and rows is the project's, so that the same choice gives the same files.
    return choose(value, MODELS, "model")


def _cap(value: Any, number: ValidatorFunctionWrapHandler) -> Any:
    try:
        return None if value == "off" else number(value)
    except ValidationError as error:
        raise ValueError(f"{value!r}: {error.errors()[0]['msg']}, or off") from error


PaneMultipleMs = Annotated[DurationMs, AfterValidator(_whole_panes)]


class ReplayOptions(BaseModel):
    """A replay's options under the names of the command line and of a protocol file's ``[replay]`` table.

    Durations are text such as ``15m``, kept in ms; ``from`` and ``to`` are moments, kept in ms. ``popularity_window``
    None: the bundle's choice. ``adapter_lr`` None: the bundle's choice. ``summaries`` False: the adapter and the
    users' side see zero features. ``max_train_events`` None, or "off" as text, ships every event of a slide to adapt.
    ``detectors``: those that look for drift, by name. ``online``: how the adapter learns; a table of its own, which stands in
    protocol files and has no flag.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    seed: int = Field(default=0, ge=0, lt=2**31)
    models: Annotated[tuple[ModelName, ...], BeforeValidator(_model_names)] = DEFAULT_MODELS
    history: Literal["event", "version"] = "event"
    publish_delay: Annotated[DurationMs, Field(ge=0, le=DAY_MS)] = 0
    slide: PaneMultipleMs = 3_600_000
    from_: TimeMs | None = Field(default=None, alias="from")
    to: TimeMs | None = None
    max_windows: int | None = Field(default=None, ge=1)
    popularity_window: PaneMultipleMs | None = None
    store_every: int = Field(default=24, ge=1)
    keep_consumed: bool = False
    device: DeviceName = "cpu"
    threads: int = Field(default=2, ge=1, le=1_024)
    adapter_lr: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    summaries: bool = True
    max_train_events: Annotated[Annotated[int, Field(ge=1)] | None, WrapValidator(_cap)] = None
    detectors: Annotated[tuple[DetectorName, ...], BeforeValidator(parse_detectors)] = DETECTORS
    online: OnlineOptions = OnlineOptions()


class ReplaySettings(BaseModel):
    """A resolved replay: everything that may change its results. Times and durations in ms.

    end_time_ms: reading stops before this event time, the end of a slide; rank_from_ms, rank_to_ms: events outside
    [from, to) are learned from but not ranked; adapter_lr None: the bundle's; max_train_events None: no slide is sampled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = CONFIG_SCHEMA_VERSION
    dataset_fingerprint: str
    bundle_hash: str
    split_hash: str
    cut_row: int
    end_time_ms: int
    rank_from_ms: int
    rank_to_ms: int
    seed: int
    models: tuple[ModelName, ...]
    history: Literal["event", "version"]
    publish_delay_ms: int
    slide_ms: int
    popularity_window_ms: int
    keep_consumed: bool
    store_every: int
    device: str
    threads: int
    adapter_lr: float | None
    summaries: bool
    online: OnlineOptions = OnlineOptions()
    run_name: str = RUN_NAME
    max_train_events: int | None = None
    allowed_lateness_ms: int = 0
    detectors: tuple[DetectorName, ...] = DETECTORS

    @property
    def config_hash(self) -> str:
        """Return the sha256 of the canonical JSON of every field but the detectors, which change no version; those of
        ``_LATER`` count where they say something."""
        document = self.model_dump(mode="json", exclude={"detectors"})
        for name in _LATER:
            if document[name] == type(self).model_fields[name].default:
                del document[name]
        text = json.dumps(document, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def merge_options(command_line: Mapping[str, Any], protocol: Mapping[str, Any]) -> ReplayOptions:
    """Return the options, each from the command line if it stands there (is not None), else from the protocol.

    Raises:
        UserError: a value is wrong, or the protocol names an option that does not exist.
    """
    given = {name: value for name, value in command_line.items() if value is not None}
    try:
        return ReplayOptions.model_validate({**protocol, **given})
    except ValidationError as error:
        raise UserError(one_line(error, given)) from error


@dataclass(frozen=True)
class StreamNames:
    """What a replay takes over from a recorded run beside its options: its name, which is in every hash, and the lateness."""

    run_name: str = RUN_NAME
    allowed_lateness_ms: int = 0


OWN_STREAM = StreamNames()


def resolve(
    options: ReplayOptions, split: Split, bundle_hash: str, popularity_window_ms: int, stream: StreamNames = OWN_STREAM
) -> ReplaySettings:
    """Return the settings of a replay of ``split``, from a bundle that fits its log.

    Reading goes to the end of the slide that holds the last ranked event, a whole slide, so that the versions of a
    shortened replay are the first versions of the full one.

    Args:
        popularity_window_ms: the bundle's choice, for options that name none.
        stream: name and lateness of the run that is replayed, where one was recorded.
    """
    return ReplaySettings(
        dataset_fingerprint=split.fingerprint,
        bundle_hash=bundle_hash,
        split_hash=split.hash,
        cut_row=split.cut_row,
        end_time_ms=split.last_event_time_ms // options.slide * options.slide + options.slide,
        rank_from_ms=split.first_event_time_ms,
        rank_to_ms=split.last_event_time_ms + 1,
        seed=options.seed,
        models=options.models,
        history=options.history,
        publish_delay_ms=options.publish_delay,
        slide_ms=options.slide,
        popularity_window_ms=options.popularity_window or popularity_window_ms,
        keep_consumed=options.keep_consumed,
        store_every=options.store_every,
        device=options.device,
        threads=options.threads,
        adapter_lr=options.adapter_lr,
        summaries=options.summaries,
        online=options.online,
        run_name=stream.run_name,
        max_train_events=options.max_train_events,
        allowed_lateness_ms=stream.allowed_lateness_ms,
        detectors=options.detectors,
    )


def environment() -> dict[str, str]:
    """Return the versions and the machine that decide results bit for bit."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "none"
    return found


def one_line(error: ValidationError, given: Mapping[str, Any]) -> str:
    """Return a model's first complaint as a message; options ``given`` are those of the command line."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]] or ["options"]
    field = ".".join(parts[:2]) if parts[0] == "online" else parts[0].rstrip("_")
    where = f"--{field.replace('_', '-')}" if field in given or f"{field}_" in given else f"protocol: {field}"
    return f"{where}: {_told(first)}"


def _told(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        names = OnlineOptions.model_fields if problem["loc"][0] == "online" else _option_names()
        return f"is no option of replay; choose from {', '.join(sorted(names))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    shown = repr(problem["input"])
    return message if shown in message or problem["type"] == "value_error" else f"{shown}: {message}"


def _option_names() -> set[str]:
    return {field.alias or name for name, field in ReplayOptions.model_fields.items()}
