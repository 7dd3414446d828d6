"""What running dataflows show outside: metrics that add up, health that says how it is, logs that a machine can read."""

import json
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from live_run import REPOSITORY, LiveRun, json_messages
from prometheus_client.parser import text_string_to_metric_families

from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.store import LatentStore
from tests.replay.tiny import bundle_tiny, prepare_tiny, tiny_events

Open = Callable[..., LiveRun]
Samples = dict[str, list[tuple[dict[str, str], float]]]
METRIC = re.compile(r"\bdynmm_[a-z_]+\b(?!\s*[=!]~?)")
OFTEN_EMPTY = {"dynmm_broker_errors_total"}  # without an error there is no kind to count
NOT_HERE = {"dynmm_context_known_ratio"}  # this run's bundle knows no context
PARTS = {"recovery", "store", "journal", "memory"}
GIVE_UP_S = 60


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedLog, Path]:
    folder = tmp_path_factory.mktemp("tiny-seen")
    log = prepare_tiny(folder, tiny_events())
    bundle_tiny(log, folder / "bundle", epochs=1)
    return log, folder / "bundle"


@pytest.fixture
def open_run(broker, tiny: tuple[PreparedLog, Path], tmp_path: Path) -> Open:  # type: ignore[no-untyped-def]
    def opened(bootstrap: str = broker.bootstrap) -> LiveRun:
        run = LiveRun(bootstrap, tmp_path, tiny[1], detectors="kswin")  # which this run is too short for
        run.make_topics(2)
        run.produce(json_messages(tiny[0], 2))
        return run

    return opened


def free_ports(count: int) -> int:
    """The first of so many ports in a row that were free a moment ago.

    They lie below the brokers' ports and those the kernel gives to connections, which other tests run beside this one take.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 20_000 - count)
        try:
            for number in range(count):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port + number))
        except OSError:
            continue
        return port


@contextmanager
def running(run: LiveRun, kind: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A dataflow that is stopped in the end, and must end well; its log goes to a file."""
    with (run.folder / f"{kind}.log").open("w") as log:
        command = [*run.command(kind, *more)]
        environment = {"PYTHONPATH": ":".join([str(REPOSITORY), *sys.path]), "PATH": "/usr/bin:/bin"}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, text=True, env=environment)
    try:
        yield process
        process.terminate()
        assert process.wait(GIVE_UP_S) == 0, (run.folder / f"{kind}.log").read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def get(port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def scrape(port: int) -> Samples:
    samples: Samples = {}
    for family in text_string_to_metric_families(get(port, "/metrics")[1]):
        samples.setdefault(family.name, [])
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def health(port: int) -> dict[str, Any]:
    status, body = get(port, "/healthz")
    return {**json.loads(body), "code": status}


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(value for found, value in samples.get(name, []) if labels.items() <= found.items())


def outcomes(*processes: Samples) -> dict[str, float]:
    names = ("read", "used", "late", "duplicate", "dead")
    return {name: sum(total(one, "dynmm_events_total", outcome=name) for one in processes) for name in names}


def until(process: subprocess.Popen[str], holds: Callable[[], bool], told: Callable[[], object] = lambda: "") -> None:
    """Wait until it holds; a process that has not begun to answer is asked again."""
    deadline = time.monotonic() + GIVE_UP_S
    while True:
        try:
            if holds():
                return
        except (OSError, HTTPException):
            pass
        assert process.poll() is None, "the flow has ended"
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)


def at_rest(port: int, events: int) -> bool:
    samples = scrape(port)
    lags = samples["dynmm_consumer_lag_messages"]
    read = total(samples, "dynmm_events_total", outcome="read")
    return read == events and len(lags) == 2 and not any(lag for _, lag in lags) and not waiting(samples)


def waiting(samples: Samples) -> bool:
    counts = outcomes(samples)
    return counts.pop("read") != sum(counts.values()) + total(samples, "dynmm_events_pending")


def listening(port: int) -> set[str]:
    """Local addresses, as the kernel writes them, on which somebody listens at the port."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    places = [line[1].split(":") for line in lines if line[3] == "0A"]
    return {address for address, number in places if int(number, 16) == port}


def promised() -> set[str]:
    """Every metric of which guide, alerts and dashboard speak."""
    files = ("docs/deploy.md", "deploy/alerts.yml", "deploy/grafana/dashboards/flows.json")
    text = "".join((REPOSITORY / file).read_text() for file in files)
    return {name for name in METRIC.findall(text) if name != "dynmm_"}


def announced(run: LiveRun) -> list[int]:
    return [json.loads(value)["version"] for _, value in run.read(run.settings.versions)]


def test_both_in_one_show_what_is_and_a_restart_shows_it_again(open_run: Open, tiny: Any) -> None:
    run, port, events = open_run(), free_ports(1), tiny[0].rows - tiny[0].cut_row
    with running(run, "all", "--port", str(port)) as process:
        until(process, lambda: at_rest(port, events), lambda: get(port, "/metrics")[1])
        until(process, lambda: {part["part"] for part, size in scrape(port)["dynmm_state_bytes"] if size} == PARTS)
        samples, told = scrape(port), health(port)
        assert (told["code"], told["state"], told["ready"]) == (200, "running", True)
        assert listening(port) == {"0100007F"}
    head = LatentStore.open(run.out / "store").head()
    assert head is not None and head.number > 3
    assert total(samples, "dynmm_store_version") == head.number
    assert total(samples, "dynmm_versions_total") == total(samples, "dynmm_slide_commit_seconds_count") == head.number + 1
    assert total(samples, "dynmm_last_commit_timestamp_seconds") == pytest.approx(head.committed_at_ms / 1000, abs=5)
    assert total(samples, "dynmm_adapt_lag_slides") == 0 and total(samples, "dynmm_slide_seconds") == 3600
    assert total(samples, "dynmm_epochs_total") > 0 and total(samples, "dynmm_open_slides") >= 1
    shown = {name.removesuffix("_bucket") for name, values in samples.items() if values}
    assert {name.removesuffix("_bucket") for name in promised()} - shown <= OFTEN_EMPTY | NOT_HERE
    assert {f"{name}_total" for name in samples} >= OFTEN_EMPTY
    lines = [json.loads(line) for line in (run.folder / "all.log").read_text().splitlines()]
    assert {(line["run"], line["flow"], line["process"]) for line in lines} == {("replay", "all", 0)}
    assert [line["version"] for line in lines if line["event"] == "slide_committed"] == list(range(head.number + 1))

    before, port = announced(run), free_ports(1)
    with running(run, "all", "--port", str(port)) as process:
        until(process, lambda: at_rest(port, events), lambda: get(port, "/metrics")[1])
        assert total(scrape(port), "dynmm_store_version") == head.number
    assert announced(run) == [*before, head.number]


def test_two_processes_of_summarize_add_up_and_adapt_tells_its_head_with_nothing_new(open_run: Open, tiny: Any) -> None:
    run, ports, events = open_run(), free_ports(3), tiny[0].rows - tiny[0].cut_row
    adapting = ("--port", str(ports + 2))

    def complete() -> bool:
        samples = [scrape(ports), scrape(ports + 1)]
        counts = outcomes(*samples)
        pending = sum(total(one, "dynmm_events_pending") for one in samples)
        return counts.pop("read") == events == sum(counts.values()) + pending and counts["used"] > 0

    def learned() -> bool:
        samples = scrape(ports + 2)
        (lag,) = samples["dynmm_consumer_lag_messages"] or [({}, -1)]
        return lag == ({"topic": run.settings.summaries, "partition": "0"}, 0) and total(samples, "dynmm_store_version") > 3

    heads = []
    for _ in range(2):  # the second time everything that was made is there already
        with running(run, "summarize", "--processes", "2", "--port", str(ports)) as process:
            until(process, complete, lambda: (outcomes(scrape(ports)), outcomes(scrape(ports + 1))))
            with running(run, "adapt", *adapting) as learning:
                until(learning, learned, lambda: get(ports + 2, "/metrics")[1])
                assert health(ports + 2)["state"] == "running"
                until(process, complete)
        head = LatentStore.open(run.out / "store").head()
        assert head is not None
        heads.append(head.number)
    # Each start tells its head; the first may have been stopped between two slides that were on their way.
    assert announced(run) == [*range(heads[0] + 1), *range(heads[0], heads[1] + 1)]
    samples: Samples = {}

    def shows_head() -> bool:
        samples.update(scrape(ports + 2))
        return total(samples, "dynmm_store_version") == head.number

    with running(run, "adapt", *adapting) as learning:
        until(learning, shows_head)
    assert announced(run)[-2:] == [head.number] * 2
    assert total(samples, "dynmm_versions_total") == 0 and not samples["dynmm_events"]


def test_a_port_that_is_taken_is_named(open_run: Open) -> None:
    run, port = open_run(), free_ports(2)
    for number, processes in ((0, 1), (1, 2)):
        with socket.create_server(("127.0.0.1", port + number)):
            told = run.flow("summarize", "--port", str(port), "--processes", str(processes), status=2)["stderr"]
        assert f"observe.port: {port + number} is in use" in told


@pytest.mark.soak
def test_health_tells_of_a_broker_that_is_away(own_broker: Any, open_run: Open) -> None:
    run, port = open_run(own_broker.bootstrap), free_ports(1)
    own_broker.stop()
    with running(run, "all", "--port", str(port)) as process:
        until(process, lambda: health(port)["state"] == "waiting_for_broker")
        told = health(port)
        assert (told["code"], told["ready"]) == (200, False) and told["reason"]
        own_broker.start()
        until(process, lambda: bool(health(port)["ready"]))
        until(process, lambda: not any(lag for _, lag in scrape(port)["dynmm_consumer_lag_messages"]))
        own_broker.kill()
        until(process, lambda: health(port)["state"] == "waiting_for_broker")
        assert total(scrape(port), "dynmm_broker_errors_total") > 0
        own_broker.start()
        until(process, lambda: health(port)["state"] == "running")
