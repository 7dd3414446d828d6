"""Logs on stderr: one JSON object per line where nobody looks, readable lines where somebody does.

An event's name is a constant in snake_case; what varies goes into fields. Fields whose name speaks of a secret lose their value.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

_SECRET = re.compile(r"password|secret|token|credential|jaas|ssl\.key\.pem|ssl_key_pem", re.IGNORECASE)
_HIDDEN = "***"
# Not structlog's context variables: those belong to a thread, and a flow's steps, timers and server run in several.
_process_fields: dict[str, Any] = {}


def get_logger() -> Any:
    """A logger for a module: ``log = get_logger()``, then ``log.info("slide_committed", version=3)``."""
    return structlog.get_logger()


def bind_process(run: str, flow: str, process: int) -> None:
    """Name the process in every later line, from whatever thread."""
    _process_fields.update(run=run, flow=flow, process=process)


def configure_logs(json: bool | None = None, level: int = logging.INFO) -> None:
    """Send logs to stderr: as JSON, as readable lines, or (None) as JSON unless stderr is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    processors = [
        _add_process_fields, structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets, *(_json_end() if as_json else _readable_end()),
    ]  # fmt: skip
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),  # a line is written at once, not text and newline apart
        cache_logger_on_first_use=False,
    )


def hide_secrets(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the values of fields whose name, at any depth, speaks of a secret."""
    return {name: _hidden(name, value) for name, value in event.items()}


def _hidden(name: str, value: Any) -> Any:
    if _SECRET.search(name):
        return _HIDDEN
    if isinstance(value, dict):
        return {key: _hidden(str(key), inner) for key, inner in value.items()}
    return value


def _add_process_fields(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {**_process_fields, **event}


def _json_end() -> list[Any]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dump)]


def _readable_end() -> list[Any]:
    # The default shows the local variables of every frame, and with them what no log should hold.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _dump(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()
