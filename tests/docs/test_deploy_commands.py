"""What the guide and compose.yaml tell people to type is what the command line understands."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from dynmm_core.cli import app
from flows.live.config import StreamSettings
from flows.live.options import FlowOptions, resolve

sys.path.append(str(Path(__file__).parent))

from compose_file import read_compose

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/deploy.md").read_text()


def commands() -> list[str]:
    """Every whole command in the guide's blocks and lines, and of every service, without the leading dynmm."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```", GUIDE, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    typed = [match[1] for line in lines if (match := re.match(r"(?:ExecStart=\S+/)?dynmm (.*)", line))]
    in_containers = re.findall(r"docker compose run --rm \S+ ([^`]*)`", GUIDE)
    services = read_compose(ROOT / "compose.yaml").services.values()
    return typed + in_containers + [shlex.join(one.command or []) for one in services if one.image.startswith("dynmm")]


def test_commands_are_found() -> None:
    found = " | ".join(commands())
    for name in (
        "flow topics",
        "flow run summarize",
        "flow run adapt",
        "flow run all",
        "flow backfill",
        "flow redrive",
        "store rollback",
    ):
        assert name in found


@pytest.mark.parametrize("command", commands())
def test_the_command_line_understands(command: str) -> None:
    function, *_ = app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)
    assert callable(function)


def test_a_command_that_is_none_is_found_out() -> None:
    with pytest.raises(Exception, match=r"no-such-option"):
        app.parse_args(["flow", "run", "summarize", "--no-such-option", "1"], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("name", ["flow.toml", "flow.compose.toml"])
def test_the_settings_files_are_read_and_show_the_defaults(name: str) -> None:
    resolved = resolve("summarize", FlowOptions(config=ROOT / "deploy" / name), drain=False)
    assert resolved.config.stream == StreamSettings()
    assert resolved.config.kafka.properties == {}


def test_the_example_of_a_secured_broker_takes_its_secrets_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = re.sub(r'^# (?="s)', "", (ROOT / "deploy/flow.toml").read_text(), flags=re.MULTILINE)
    (tmp_path / "flow.toml").write_text(text)
    monkeypatch.setenv("DYNMM_KAFKA_USER", "flows")
    monkeypatch.setenv("DYNMM_KAFKA_PASSWORD", "from-outside")
    kafka = resolve("summarize", FlowOptions(config=tmp_path / "flow.toml"), drain=False).config.kafka
    assert "from-outside" not in repr(kafka)
    client = kafka.client()
    assert (client["security.protocol"], client["sasl.username"], client["sasl.password"]) == (
        "SASL_SSL",
        "flows",
        "from-outside",
    )


def test_the_topics_of_the_guide_are_those_of_the_settings() -> None:
    kafka = resolve("summarize", FlowOptions(bootstrap="b:9092"), drain=False).config.kafka
    for name in (kafka.interactions, kafka.summaries, kafka.dead_letters, kafka.late_events, kafka.versions):
        assert f"`{name}`" in GUIDE


def test_no_link_of_the_guide_leads_nowhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target
