"""Scrapes and health checks over real HTTP, on free loopback ports."""

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from dynmm_core.errors import UserError
from flows.observe.health import Health, State
from flows.observe.metrics import FlowMetrics
from flows.observe.server import ObserveServer, port_of


def get(server: ObserveServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


@pytest.fixture
def metrics() -> FlowMetrics:
    return FlowMetrics("live", "adapt")


@pytest.fixture
def health() -> Health:
    return Health(clock=lambda: 1_700_000_000.0)


@pytest.fixture
def server(metrics: FlowMetrics, health: Health) -> Iterator[ObserveServer]:
    with ObserveServer(metrics, health) as server:
        yield server


def test_a_scrape_gives_what_was_observed(server: ObserveServer, metrics: FlowMetrics, health: Health) -> None:
    metrics.observe_tallies(read=12, used=10, late=1, duplicate=0, dead=1, pending=0)
    health.progressed("interactions/0")
    status, content_type, body = get(server, "/metrics")
    assert status == 200 and content_type.startswith("text/plain")
    families = {family.name: family for family in parse_text(body)}
    assert {sample.labels["outcome"]: sample.value for sample in families["dynmm_events"].samples} == {
        "read": 12, "used": 10, "late": 1, "duplicate": 0, "dead": 1,
    }  # fmt: skip
    states = {sample.labels["dynmm_health_state"]: sample.value for sample in families["dynmm_health_state"].samples}
    assert states == {"starting": 0, "running": 1, "waiting_for_broker": 0, "failing": 0}


def test_a_scraper_may_ask_for_openmetrics(server: ObserveServer, metrics: FlowMetrics) -> None:
    metrics.observe_tallies(read=3, used=3, late=0, duplicate=0, dead=0, pending=0)
    status, content_type, body = get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200 and content_type.startswith("application/openmetrics-text")
    (events,) = (family for family in parse_openmetrics(body) if family.name == "dynmm_events")
    assert events.samples[0].value == 3


def test_health_tells_every_state(server: ObserveServer, health: Health) -> None:
    def asked() -> tuple[int, dict[str, object]]:
        status, content_type, body = get(server, "/healthz")
        assert content_type == "application/json"
        return status, json.loads(body)

    status, told = asked()
    assert (status, told["status"], told["state"], told["last_progress_ms"]) == (200, "ok", "starting", None)
    assert told["ready"] is False
    health.progressed("interactions/0")
    status, told = asked()
    assert told["ready"] is True
    assert (status, told["state"], told["last_progress_ms"]) == (200, "running", 1_700_000_000_000)
    health.waiting_for_broker("no broker at kafka:29092")
    status, told = asked()
    assert (status, told["status"], told["state"], told["reason"]) == (
        200,
        "ok",
        "waiting_for_broker",
        "no broker at kafka:29092",
    )
    health.failing("the store's head lies behind the offsets")
    status, told = asked()
    assert (status, told["status"], told["reason"]) == (503, "failing", "the store's head lies behind the offsets")


def test_other_paths_and_methods_are_refused(server: ObserveServer) -> None:
    assert get(server, "/")[0] == 404
    assert get(server, "/metrics/../../etc/passwd")[0] == 404
    assert get(server, "/healthz", method="POST")[0] == 501
    assert get(server, "/healthz?from=probe")[0] == 200


def test_a_client_that_says_nothing_holds_up_nobody(server: ObserveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/healthz")[0] == 200
        server.stop()


def test_only_loopback_is_listened_on_unless_told(server: ObserveServer) -> None:
    assert server._server is not None and server._server.server_address == ("127.0.0.1", server.port)


def test_a_port_in_use_is_named_with_the_way_out(server: ObserveServer, metrics: FlowMetrics, health: Health) -> None:
    second = ObserveServer(metrics, health, port=server.port)
    with pytest.raises(UserError, match=rf"observe\.port: {server.port} is in use on 127\.0\.0\.1; .*another port$"):
        second.start()
    second.stop()
    assert get(server, "/healthz")[0] == 200


@pytest.mark.parametrize("host", ["no such host", "203.0.113.7"])
def test_an_address_of_another_machine_is_refused(metrics: FlowMetrics, health: Health, host: str) -> None:
    with pytest.raises(UserError, match=r"observe\..*127\.0\.0\.1"):
        ObserveServer(metrics, health, host=host).start()


def test_a_stopped_server_frees_its_port_and_may_start_again(metrics: FlowMetrics, health: Health) -> None:
    server = ObserveServer(metrics, health)
    server.stop()
    server.start()
    port = server.port
    server.stop()
    with ObserveServer(metrics, health, port=port) as again:
        assert again.port == port and get(again, "/healthz")[0] == 200
    server.start()
    assert server.port == port
    server.stop()


def test_each_process_has_a_port_of_its_own() -> None:
    assert [port_of(9464, process) for process in range(3)] == [9464, 9465, 9466]
    assert port_of(0, 7) == 0
    for port, process in ((65_535, 1), (70_000, 0), (-5, 0)):
        with pytest.raises(UserError, match=r"observe\.port"):
            port_of(port, process)


def test_a_failure_is_final_and_its_first_reason_stays(health: Health) -> None:
    health.failing("the disk is full")
    health.failing("connection lost")
    health.waiting_for_broker("no answer")
    health.progressed("interactions/0")
    health.broker_answers()
    report = health.report()
    assert (report.ok, report.reason) == (False, "the disk is full")


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def watched(now: list[float]) -> Health:
    return Health(stalled_after_s=60, monotonic=lambda: now[0])


def test_a_part_with_work_that_stands_still_is_failing_until_it_moves(watched: Health, now: list[float]) -> None:
    now[0] = 500.0
    assert watched.report().ok  # it may start for as long as it needs
    watched.progressed("interactions/0", behind=7)
    watched.progressed("interactions/1")
    now[0] = 560.0
    watched.looked("interactions/0", behind=12)
    watched.progressed("interactions/1")
    assert watched.report().ok
    now[0] = 561.0
    report = watched.report()
    assert not report.ok and report.state is State.FAILING
    assert report.reason == "interactions/0: 12 behind, no progress for 61 s, more than 60 s"
    watched.progressed("interactions/0", behind=11)
    assert watched.report().ok


def test_a_part_with_nothing_to_do_is_well_however_long(watched: Health, now: list[float]) -> None:
    watched.progressed("interactions/0", behind=3)
    watched.progressed("interactions/0")
    for now[0] in (50.0, 5_000.0):
        watched.looked("interactions/0", behind=0)
        assert watched.report().ok and watched.report().state is State.RUNNING
    watched.looked("interactions/0", behind=9)  # its time begins with its work
    now[0] = 5_060.0
    assert watched.report().ok
    now[0] = 5_061.0
    assert not watched.report().ok
    watched.looked("interactions/0", behind=0)  # held back, or the topic was emptied
    assert watched.report().ok


def test_whoever_waits_for_the_broker_is_well_and_begins_anew_behind_it(watched: Health, now: list[float]) -> None:
    watched.progressed("interactions/0", behind=3)
    watched.waiting_for_broker("no answer")
    now[0] = 300.0
    watched.progressed("interactions/0", behind=2)  # fetched before
    report = watched.report()
    assert (report.ok, report.state, report.reason) == (True, State.WAITING_FOR_BROKER, "no answer")
    now[0] = 400.0
    watched.broker_answers()
    assert watched.report().state is State.RUNNING
    now[0] = 460.0
    assert watched.report().ok
    now[0] = 461.0
    assert not watched.report().ok


def test_without_a_limit_nothing_is_stalled(now: list[float]) -> None:
    health = Health(monotonic=lambda: now[0])
    health.progressed("interactions/0", behind=1)
    now[0] = 1e6
    assert health.report().ok
