"""compose.yaml and Dockerfile: nothing open, nothing secret, nothing unpinned, and every place that must agree agrees."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from flows.observe.health import Health
from flows.observe.metrics import FlowMetrics
from flows.observe.server import ObserveServer

sys.path.append(str(Path(__file__).parent))

from compose_file import ComposeFile, read_compose

ROOT = Path(__file__).parents[2]
SECRET = re.compile(
    r"(password|passwd|secret|token|api_?key|credential)\w*[\"']?\s*[:=]\s*[\"']?(?!\$\{)[^\s\"'$#]", re.IGNORECASE
)
FLOWS = ("summarize-0", "summarize-1", "adapt")


@pytest.fixture(scope="module")
def compose() -> ComposeFile:
    return read_compose(ROOT / "compose.yaml")


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: (word, rest), continued lines joined, comments left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("mem_limit: 512m", "mem_limitt: 512m"),
        ("apache/kafka:4.3.1", "apache/kafka:latest"),
        ("apache/kafka:4.3.1", "apache/kafka"),
        ('"127.0.0.1:9092:9092"', '"9092:9092"'),
        ('"127.0.0.1:9092:9092"', '"0.0.0.0:9092:9092"'),
        ("condition: service_healthy", "condition: healthy"),
        ("      - runs:/var", "      - missing:/var"),
        ('KAFKA_NODE_ID: "1"', "KAFKA_NODE_ID: 1"),
    ],
)
def test_the_model_of_compose_refuses_what_is_wrong(tmp_path: Path, was: str, becomes: str) -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert was in text
    (tmp_path / "compose.yaml").write_text(text.replace(was, becomes, 1))
    with pytest.raises(ValidationError):
        read_compose(tmp_path / "compose.yaml")


def test_every_long_running_service_is_asked_for_its_health_and_restarted(compose: ComposeFile) -> None:
    once = {"topics"}
    for name, service in compose.services.items():
        assert (service.healthcheck.disable, service.restart == "no") == (name in once, name in once), name


def test_no_file_of_the_deployment_holds_a_secret() -> None:
    files = [ROOT / "compose.yaml", ROOT / "Dockerfile", *(path for path in (ROOT / "deploy").rglob("*") if path.is_file())]
    found = [f"{file.name}: {match[0]}" for file in files for match in SECRET.finditer(file.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "line", ['KAFKA_PASSWORD: "x1"', "api_key=abc", '"sasl.password" = "hunter2"', "GF_SECURITY_ADMIN_PASSWORD: admin"]
)
def test_the_search_for_secrets_finds_one(line: str) -> None:
    assert SECRET.search(line)
    assert not SECRET.search('"sasl.password" = "${DYNMM_KAFKA_PASSWORD}"')


def test_the_flows_run_without_rights_they_do_not_need(compose: ComposeFile) -> None:
    for name in (*FLOWS, "topics"):
        service = compose.services[name]
        assert service.read_only and service.cap_drop == ["ALL"] and "no-new-privileges:true" in service.security_opt
        # Set to anything, the engine's variable opens a port on all interfaces.
        assert not any(variable.startswith("BYTEWAX") for variable in service.environment)


def test_the_engines_ports_stay_inside(compose: ComposeFile) -> None:
    published = {port.rsplit(":", 1)[1] for service in compose.services.values() for port in service.ports}
    assert "2101" not in published


def test_both_processes_of_summarize_share_one_cluster_and_one_recovery_folder(compose: ComposeFile) -> None:
    commands = [compose.services[f"summarize-{number}"].command or [] for number in (0, 1)]
    options = [dict(zip(command[3::2], command[4::2], strict=True)) for command in commands]
    assert [command[:3] for command in commands] == [["flow", "run", "summarize"]] * 2
    assert [option.pop("--process") for option in options] == ["0", "1"]
    assert options[0] == options[1]
    addresses = options[0]["--addresses"].split(",")
    assert [address.split(":")[0] for address in addresses] == ["summarize-0", "summarize-1"]
    assert all(compose.services[name].hostname == name for name in ("summarize-0", "summarize-1"))
    config = tomllib.loads((ROOT / "deploy/flow.compose.toml").read_text())
    for name in ("summarize-0", "summarize-1"):
        (volume,) = (
            source for source, target in compose.services[name].mounts if config["flow"]["recovery"].startswith(target + "/")
        )
        assert volume == "recovery"
    targets = [target for _, target in compose.services["adapt"].mounts]
    assert config["adapt"]["bundle"] in targets and any(config["adapt"]["out"].startswith(target + "/") for target in targets)


def test_every_mounted_file_is_there(compose: ComposeFile) -> None:
    sources = {source for service in compose.services.values() for source, _ in service.mounts if source.startswith("./")}
    assert sources and all((ROOT / source).exists() for source in sources)


def test_processes_listen_where_they_are_asked_scraped_and_published(compose: ComposeFile) -> None:
    base = tomllib.loads((ROOT / "deploy/flow.compose.toml").read_text())["observe"]["port"]
    expected = {"summarize-0": base, "summarize-1": base + 1, "adapt": base}
    (job, _) = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())["scrape_configs"]
    targets = {target for group in job["static_configs"] for target in group["targets"]}
    assert targets == {f"{name}:{port}" for name, port in expected.items()}
    for name, port in expected.items():
        service = compose.services[name]
        assert [published.rsplit(":", 1)[1] for published in service.ports] == [str(port)]
        assert service.healthcheck.test == ["CMD", "python", "-m", "flows.observe.probe", str(port)]
        command = service.command or []
        number = int(command[command.index("--process") + 1]) if "--process" in command else 0
        assert port == base + number


def test_the_probe_says_what_the_process_says() -> None:
    health = Health()
    with ObserveServer(FlowMetrics("live", "adapt"), health) as server:

        def probe() -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "flows.observe.probe", str(server.port)]
            proxy = {"http_proxy": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
            return subprocess.run(command, env=proxy, capture_output=True, text=True, check=False)

        assert probe().returncode == 0
        health.failing("the disk is full")
        ill = probe()
        assert ill.returncode == 1 and "the disk is full" in ill.stderr
    assert probe().returncode == 1


def test_the_image_is_pinned_and_runs_as_nobody_in_particular(instructions: list[tuple[str, str]]) -> None:
    words = [word for word, _ in instructions]
    bases = [rest for word, rest in instructions if word == "FROM"]
    assert bases and all(re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", base) for base in bases)
    users = [rest for word, rest in instructions if word == "USER"]
    assert users and re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1])  # a number: a supervisor can see that it is not root
    assert words.index("USER") > max(number for number, word in enumerate(words) if word == "RUN")
    assert words.count("HEALTHCHECK") == words.count("ENTRYPOINT") == 1
    assert dict(instructions)["ENTRYPOINT"] == '["dynmm"]'


def test_the_image_takes_nothing_from_the_network_but_pinned_packages(instructions: list[tuple[str, str]]) -> None:
    assert not [rest for word, rest in instructions if word == "ADD" or (word == "COPY" and "://" in rest)]
    runs = [rest for word, rest in instructions if word == "RUN"]
    installs = [run for run in runs if "pip install" in run]
    assert all("constraints.txt" in run for run in installs) and any(run.endswith(" .") for run in installs)
    assert not [run for run in runs if re.search(r"curl|wget|apt|sudo|git ", run)]
    secrets = [rest for word, rest in instructions if word in ("ENV", "ARG") and SECRET.search(rest)]
    assert secrets == []


def test_the_image_holds_what_the_package_needs_and_nothing_else(instructions: list[tuple[str, str]]) -> None:
    copied = {part for word, rest in instructions if word == "COPY" for part in rest.split()[:-1]}
    listed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == listed and "*" in (ROOT / ".dockerignore").read_text().splitlines()
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.rstrip("*") for package in packages} <= copied
    assert all((ROOT / part).exists() for part in copied)


def test_both_settings_files_know_the_same_entries_and_only_the_container_listens_everywhere() -> None:
    mine, theirs = (tomllib.loads((ROOT / f"deploy/{name}").read_text()) for name in ("flow.toml", "flow.compose.toml"))
    assert mine["kafka"].pop("properties") == {}
    assert {table: set(entries) for table, entries in mine.items()} == {table: set(entries) for table, entries in theirs.items()}
    assert (mine["observe"]["host"], theirs["observe"]["host"]) == ("127.0.0.1", "0.0.0.0")
    assert mine["stream"] == theirs["stream"]
