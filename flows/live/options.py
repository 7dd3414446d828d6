"""What a user may say of a dataflow on Kafka: a TOML file, and the command line before it."""

import hashlib
import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import ValidationError

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.errors import UserError
from dynmm_core.metrics.drift.detectors import DetectorName, parse_detectors
from dynmm_core.model.online import OnlineOptions
from dynmm_core.quantities import parse_duration_ms, parse_time_ms
from flows.kafka.settings import KafkaSettings
from flows.live.config import FlowKind, LiveConfig

_OFF = "off"
_MOST_PROCESSES = 256
_DURATIONS = ("slide", "allowed_lateness", "max_skew", "idle_after", "publish_delay", "popularity_window")
# The tables of the file, and which options each of them takes.
_TABLES: dict[str, tuple[str, ...]] = {
    "kafka": ("bootstrap", "interactions", "summaries", "dead_letters", "late_events", "versions"),
    "stream": ("run", "slide", "allowed_lateness", "max_skew", "idle_after", "max_train_events", "pairs", "start"),
    "adapt": (
        "bundle", "out", "seed", "history", "publish_delay", "popularity_window", "store_every", "device", "threads", "detectors",
    ),
    "observe": ("host", "port", "stalled_after"),
    "flow": ("recovery", "processes", "batch_size"),
}  # fmt: skip


@dataclass(frozen=True)
class FlowOptions:
    """Options of every dataflow on Kafka; what is left out comes from the file, then from the defaults.

    Parameters
    ----------
    config
        A TOML file with the tables kafka, kafka.properties, stream, adapt, observe and flow; each option below may stand there.
    bootstrap
        Where the brokers are: host:port, several with commas between.
    property
        A setting of librdkafka, key=value, such as security.protocol=SASL_SSL; repeatable. ${NAME} is taken from the environment.
    interactions
        Topic that is read.
    summaries
        Topic of the slides' summaries.
    dead_letters
        Topic of messages that are no events.
    late_events
        Topic of events whose slide had closed.
    versions
        Topic on which every version is announced.
    run
        Name of the run; with other settings it is another run and needs another name. live by default.
    slide
        Length of a slide, 5m to 24h in steps of 5m; 15m by default.
    allowed_lateness
        How far events may come out of order within a partition; 1m by default.
    max_skew
        How far an event may lie after its ingest time before it is a dead letter; 1h by default, or off.
    idle_after
        After how much silence a partition holds no slide open any more; 5m by default, or off.
    max_train_events
        Events of a slide that are shipped for learning, a sample of more; 50000 by default, or off.
    pairs
        Count item pairs of each user's sequence (default).
    start
        Where a new run begins: earliest, latest (default), or a moment.
    recovery
        Folder of the state that buckets carry; RUN.recovery by default. All processes of a run share it.
    bundle
        A bundle made by `dynmm pretrain`; adapt only.
    out
        The run's folder with its store; adapt only.
    seed
        Names every random draw; 0 by default.
    history
        What a request knows of its user, event or version.
    publish_delay
        Time from a slide's end until its version is served.
    popularity_window
        Length of the popularity model's window.
    store_every
        Keep the rows of every so-many-th version; 1 by default.
    device
        cpu (default) or cuda.
    threads
        CPU threads of the model; 2 by default.
    detectors
        Which detectors look for drift: adwin, page_hinkley and kswin, with commas between, or off; all of them by default.
    host
        Where metrics and health are served; 127.0.0.1 by default.
    port
        Port of /metrics and /healthz of the first process; none by default.
    stalled_after
        After how long without progress a process that has work before it is ill; 15m by default, or off.
    processes
        Processes on this machine; 1 by default.
    batch_size
        Messages that travel together; changes no result.
    """

    config: Path | None = None
    bootstrap: str | None = None
    property: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    interactions: str | None = None
    summaries: str | None = None
    dead_letters: str | None = None
    late_events: str | None = None
    versions: str | None = None
    run: str | None = None
    slide: str | None = None
    allowed_lateness: str | None = None
    max_skew: str | None = None
    idle_after: str | None = None
    max_train_events: str | None = None
    pairs: bool | None = None
    start: str | None = None
    recovery: Path | None = None
    bundle: Path | None = None
    out: Path | None = None
    seed: int | None = None
    history: str | None = None
    publish_delay: str | None = None
    popularity_window: str | None = None
    store_every: int | None = None
    device: str | None = None
    threads: int | None = None
    detectors: str | None = None
    host: str | None = None
    port: int | None = None
    stalled_after: str | None = None
    processes: int | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class Resolved:
    """A dataflow's configuration, and the processes that it is to run on."""

    config: LiveConfig
    processes: int


def resolve(kind: FlowKind, options: FlowOptions, drain: bool) -> Resolved:
    """The configuration that file and command line come to.

    Raises:
        UserError: an option is unknown, missing or out of its range.
    """
    given = _read_file(options.config) if options.config is not None else {}
    properties = {**given.pop("properties", {}), **dict(_pair(text) for text in options.property)}
    named = {one.name: getattr(options, one.name) for one in fields(options) if one.name not in ("config", "property")}
    given |= {name: value for name, value in named.items() if value is not None}
    if "bootstrap" not in given:
        raise UserError("bootstrap: missing; give --bootstrap host:port, or [kafka] bootstrap in the file of --config")
    stream = _stream(given)
    run = stream.get("run", "live")
    document = {
        "kind": kind,
        "kafka": {**{name: given[name] for name in _TABLES["kafka"] if name in given}, "properties": properties},
        "stream": stream,
        "recovery": given.get("recovery", f"{run}.recovery"),
        "observe": _observe(given),
        "drain": drain,
        **{name: given[name] for name in ("batch_size",) if name in given},
    }
    try:
        plain = LiveConfig.model_validate({**document, "kind": "summarize"})
        if kind == "summarize":
            # A file is every flow's: what is wrong in it for another one is told here, too.
            AdaptSettings(bundle=Path(), run_dir=Path(), config_hash="", **_learner(given), **_unhashed(given))
            return Resolved(plain, _processes(given))
        adapt = _adapt(given, plain)
        return Resolved(LiveConfig.model_validate({**document, "adapt": adapt.model_dump()}), _processes(given))
    except ValidationError as error:
        raise UserError(one_line(error)) from error


def kafka_settings(options: FlowOptions) -> KafkaSettings:
    """Broker and topics alone, for commands that run no dataflow."""
    return resolve("summarize", options, drain=False).config.kafka


def retention_ms(name: str, value: str) -> int:
    """A topic's retention in ms, -1 for "forever"."""
    return -1 if value == "forever" else _duration(name, value) or 0


def one_line(error: ValidationError) -> str:
    """The first complaint as a message."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "options"
    message = str(first["msg"]).removeprefix("Value error, ")
    return (
        f"{place.removesuffix('_ms')}: {message}; it was {first['input']!r}"
        if first["type"] != "value_error"
        else f"{place.removesuffix('_ms')}: {message}"
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"--config: there is no file {path}; name a TOML file") from None
    except (IsADirectoryError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--config: {path} is no TOML file ({error}); name one") from error
    given: dict[str, Any] = {}
    for table, content in tables.items():
        if table not in _TABLES or not isinstance(content, dict):
            raise UserError(f"--config: {path}: [{table}] is no table of a flow; there are {', '.join(_TABLES)}")
        for name, value in content.items():
            if table == "kafka" and name == "properties":
                if not isinstance(value, dict):
                    raise UserError(f"--config: {path}: kafka.properties is {value!r}; make it a table, [kafka.properties]")
                given["properties"] = {key: str(one).lower() if isinstance(one, bool) else str(one) for key, one in value.items()}
            elif name in _TABLES[table]:
                given[name] = value
            else:
                raise UserError(f"--config: {path}: [{table}] has no {name}; it has {', '.join(_TABLES[table])}")
    return given


def _stream(given: dict[str, Any]) -> dict[str, Any]:
    stream = {}
    for name in _TABLES["stream"]:
        if name not in given:
            continue
        value = given[name]
        if name in _DURATIONS:
            stream[f"{name}_ms"] = _duration(name, value)
        elif name == "max_train_events":
            stream[name] = None if value == _OFF else value
        elif name == "start":
            stream[name] = value if value in ("earliest", "latest") else _moment(name, value)
        else:
            stream[name] = value
    return stream


def _observe(given: dict[str, Any]) -> dict[str, Any]:
    observe = {name: given[name] for name in _TABLES["observe"] if name in given}
    if "stalled_after" in observe:
        observe["stalled_after_ms"] = _duration("stalled_after", observe.pop("stalled_after"))
    return observe


def _adapt(given: dict[str, Any], plain: LiveConfig) -> AdaptSettings:
    from dynmm_core.model.bundle import Bundle
    from dynmm_core.model.devices import open_device

    for name in ("bundle", "out"):
        if name not in given:
            raise UserError(f"{name}: missing; adapt needs --bundle BUNDLE and --out FOLDER")
        if not isinstance(given[name], str | Path):
            raise UserError(f"{name}: {given[name]!r} is no path; write it in quotes")
    chosen = _learner(given)
    unhashed = _unhashed(given)
    bundle = Bundle.load(Path(given["bundle"]))
    online = OnlineOptions().model_dump()
    causes = {
        **chosen,
        "bundle": bundle.hash,
        "online": online,
        **plain.stream.model_dump(include={"slide_ms", "max_train_events"}),
    }
    settings = AdaptSettings(
        bundle=Path(given["bundle"]), run_dir=Path(given["out"]), run_name=plain.stream.run, slide_ms=plain.stream.slide_ms,
        config_hash=hashlib.sha256(json.dumps(causes, sort_keys=True).encode()).hexdigest(),
        journal=True, **unhashed, **chosen,
    )  # fmt: skip
    # Told now, not once the broker is there.
    open_device(settings.device)
    return settings


def _learner(given: dict[str, Any]) -> dict[str, Any]:
    """What decides what is learned, as AdaptSettings calls it."""
    chosen = {name: given[name] for name in ("seed", "history", "device", "threads") if name in given}
    for name in ("publish_delay", "popularity_window"):
        if name in given:
            chosen[f"{name}_ms"] = _duration(name, given[name])
    return chosen


def _unhashed(given: dict[str, Any]) -> dict[str, Any]:
    """What changes no version, and is no part of the causes."""
    return {"store_every": given.get("store_every", 1), **_detectors(given)}


def _detectors(given: dict[str, Any]) -> dict[str, tuple[DetectorName, ...]]:
    if "detectors" not in given:
        return {}
    try:
        return {"detectors": parse_detectors(given["detectors"])}
    except ValueError as error:
        raise UserError(f"detectors: {error}") from error


def _processes(given: dict[str, Any]) -> int:
    processes = given.get("processes", 1)
    if not isinstance(processes, int) or isinstance(processes, bool) or not 1 <= processes <= _MOST_PROCESSES:
        raise UserError(f"processes: {processes!r} is no number from 1 to {_MOST_PROCESSES}; give --processes 1 or more")
    return processes


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UserError(f"--property: {text!r} is no key=value; write such as security.protocol=SASL_SSL")
    return name, value


def _duration(name: str, value: Any) -> int | None:
    if value == _OFF and name in ("max_skew", "idle_after", "stalled_after"):
        return None
    try:
        return parse_duration_ms(value)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error


def _moment(name: str, value: Any) -> int:
    try:
        return parse_time_ms(value)
    except ValueError as error:
        raise UserError(f"{name}: {error}, or earliest, or latest") from error
