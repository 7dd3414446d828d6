"""The broker dies, freezes or is not there: the flows wait, go on, and make what an undisturbed run makes."""

import threading
import time
from collections.abc import Callable

import pytest
from broker_settings import free_addresses
from calm import Calm
from live_ops import Operated, Started, closes, halves
from local_broker import LocalBroker

Open = Callable[..., Operated]
FROZEN_S = 3
KINDS = [("summarize", "adapt"), pytest.param(("all",), marks=pytest.mark.soak)]


def under_way(run: Operated, calm: Calm, kinds: tuple[str, ...]) -> list[Started]:
    """Flows that have made some versions of the first half of the log, and wait for more."""
    first, _ = halves(calm.messages)
    run.produce(first)
    flows = [run.begin(kind) for kind in kinds]
    flows[-1].wait_for(lambda: len(run.made()) >= 3, "version 3")
    return flows


def assert_ends_as_calm(run: Operated, calm: Calm, flows: list[Started]) -> None:
    flows[-1].wait_for(lambda: len(run.made()) >= len(calm.versions), "last version")
    told = [flow.stop() for flow in flows]
    assert all(closes(one) for one in told)
    assert told[0]["accounting"]["read"] == calm.expected.read + len(calm.messages)
    assert run.versions() == calm.versions
    if len(flows) == 2:
        assert run.summaries() == calm.summaries


@pytest.mark.parametrize("kinds", KINDS, ids=["two flows", "all"])
def test_a_broker_that_is_killed_and_comes_back_changes_nothing(
    broker: LocalBroker, calm: Calm, open_run: Open, kinds: tuple[str, ...]
) -> None:  # fmt: skip
    run = open_run()
    flows = under_way(run, calm, kinds)
    broker.kill()
    for flow in flows:
        flow.wait_for(lambda flow=flow: "broker_error" in flow.said, "word of the broker")
    broker.start()
    run.produce(halves(calm.messages)[1])
    assert_ends_as_calm(run, calm, flows)


def test_a_broker_that_freezes_for_seconds_changes_nothing(broker: LocalBroker, calm: Calm, open_run: Open) -> None:
    run = open_run()
    flows = under_way(run, calm, ("summarize", "adapt"))
    broker.pause()
    sending = threading.Thread(target=run.produce, args=(halves(calm.messages)[1],))
    sending.start()
    try:
        time.sleep(FROZEN_S)  # what passes here is the broker's time, and there is nothing to wait for
        assert len(run.made()) < len(calm.versions)
    finally:
        broker.resume()
    sending.join()
    assert_ends_as_calm(run, calm, flows)


def test_a_broker_that_is_not_there_is_waited_for(broker: LocalBroker, calm: Calm, open_run: Open) -> None:
    run = open_run(calm.messages)
    broker.stop()
    try:
        flow = run.begin("all")
        flow.wait_for(lambda: "waiting_for_broker" in flow.said, "first wait")
    finally:
        broker.start()
    assert_ends_as_calm(run, calm, [flow])


def test_a_flow_that_waits_for_its_broker_ends_at_a_signal(open_run: Open) -> None:
    run = open_run()
    run.bootstrap = free_addresses().broker
    flow = run.begin("summarize")
    flow.wait_for(lambda: "waiting_for_broker" in flow.said, "first wait")
    assert "stopped before it began" in flow.stop()["stderr"]


@pytest.mark.soak
def test_a_flow_whose_broker_died_ends_at_sigterm(broker: LocalBroker, calm: Calm, open_run: Open) -> None:
    run = open_run()
    flows = under_way(run, calm, ("summarize", "adapt"))
    broker.kill()
    try:
        for flow in flows:
            flow.wait_for(lambda flow=flow: "broker_error" in flow.said, "word of the broker")
        told = [flow.stop() for flow in flows]
    finally:
        broker.start()
    assert all(closes(one) for one in told)
    run.produce(halves(calm.messages)[1])
    assert_ends_as_calm(run, calm, [run.begin("summarize"), run.begin("adapt")])
