"""What a line of the log holds, and what it must not."""

import ast
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

import flows
from flows.observe import logs
from flows.observe.logs import bind_process, configure_logs, get_logger


@pytest.fixture(autouse=True)
def _untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logs, "_process_fields", {})
    yield
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    shown = capsys.readouterr()
    assert shown.out == ""
    return [json.loads(line) for line in shown.err.splitlines()]


def test_a_line_is_one_json_object_with_the_process_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    log = get_logger()  # made before anything is configured, as modules do
    configure_logs(json=True)
    bind_process("live", "summarize", 1)
    log.info("partition_opened", topic="interactions", partition=3, offset=0, text="two\nlines")
    (line,) = lines(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", str(line.pop("timestamp")))
    assert line == {
        "event": "partition_opened", "level": "info", "run": "live", "flow": "summarize", "process": 1,
        "topic": "interactions", "partition": 3, "offset": 0, "text": "two\nlines",
    }  # fmt: skip


def test_other_threads_name_the_process_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(json=True)
    bind_process("live", "adapt", 0)
    thread = threading.Thread(target=lambda: get_logger().info("slide_committed", version=4))
    thread.start()
    thread.join()
    (line,) = lines(capsys)
    assert (line["run"], line["flow"], line["version"]) == ("live", "adapt", 4)


def test_secrets_are_hidden_at_any_depth(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(json=True)
    properties = {"sasl.password": "hunter2", "ssl.key.pem": "hunter2", "security.protocol": "SASL_SSL"}
    get_logger().info("flow_configured", kafka={"properties": properties}, api_token="hunter2")
    shown = capsys.readouterr().err
    assert "hunter2" not in shown and "SASL_SSL" in shown


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    configure_logs(json=as_json)
    hidden_here = "hunter" + "2"
    try:
        raise KeyError("nothing")
    except KeyError:
        get_logger().error("step_failed", exc_info=True)
    shown = capsys.readouterr().err
    assert "KeyError" in shown and "test_observe_logs.py" in shown
    assert hidden_here not in shown


def test_lines_are_readable_where_a_person_looks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    configure_logs()
    get_logger().info("slide_committed", version=4)
    shown = capsys.readouterr().err
    assert "slide_committed" in shown and not shown.startswith("{")


def test_lines_are_json_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    get_logger().info("slide_committed", version=4)
    assert lines(capsys)[0]["event"] == "slide_committed"


def test_every_event_of_the_flows_is_a_constant_in_snake_case() -> None:
    methods, calls = {"debug", "info", "warning", "error", "exception", "critical"}, []
    for file in Path(flows.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
                owner = node.func.value
                name = owner.func if isinstance(owner, ast.Call) else owner
                if isinstance(name, ast.Name) and name.id in ("log", "get_logger"):
                    calls.append((file.name, node.lineno, node.args[0] if node.args else None))
    assert calls
    for name, line, event in calls:
        constant = isinstance(event, ast.Constant) and isinstance(event.value, str)
        assert constant and re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", event.value), f"{name}:{line}"
