"""Many partitions and many processes: uneven, empty, silent ones; transactions; the same slides however they are read."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from calm import LATENESS_MS, SKEW_MS, Calm
from confluent_kafka import Producer
from live_ops import SLIDE_MS, Messages, Operated, closers, closes, halves, joined

from dynmm_core.datasets.prepared import PreparedLog
from simulators.faults import FaultRates, inject

Open = Callable[..., Operated]
MANY = 12
NEVER, HALF = {3, 8}, {5: 0.5, 10: 0.4}  # partitions that never send, and that stop
RATES = FaultRates(late=0.02, duplicate=0.03, out_of_order=0.05, roaming=0.1, idle_after={**dict.fromkeys(NEVER, 0.0), **HALF})


@pytest.fixture(scope="module")
def uneven(small: tuple[PreparedLog, Any]) -> Messages:
    """Twelve partitions of which two are empty, two fall silent, and the others end with a closing message."""
    log = small[0]
    events = log.read(["event_time_ms", "event_id", "user_id", "item_id"], log.cut_row, log.rows)
    faulty = inject(events, RATES, 3, MANY, SLIDE_MS, LATENESS_MS, SKEW_MS)
    plain: Messages = {partition: list(some) for partition, some in enumerate(faulty.messages)}
    ends = closers(plain)
    return joined(plain, {partition: [] if partition in NEVER or partition in HALF else ends[partition] for partition in plain})


@pytest.fixture(scope="module")
def drained(broker, small, uneven: Messages, tmp_path_factory: pytest.TempPathFactory) -> Operated:  # type: ignore[no-untyped-def]
    """What one process makes of it, drained."""
    run = Operated(broker.bootstrap, tmp_path_factory.mktemp("drained"), small[1])
    run.make_topics(MANY)
    run.produce(uneven)
    run.flow("summarize", "--drain")
    run.flow("adapt")
    return run


@pytest.mark.parametrize("processes", [2, 4])
def test_more_processes_make_the_same_and_share_the_work(
    drained: Operated, uneven: Messages, open_run: Open, processes: int
) -> None:  # fmt: skip
    run = open_run(uneven, MANY)
    told = run.flow("summarize", "--drain", "--processes", str(processes))
    assert closes(told) and told["accounting"]["pending"] == 0
    assert told["accounting"]["read"] == sum(map(len, uneven.values()))
    assert run.summaries() == drained.summaries()
    shares = told["processes"]
    assert len(shares) == processes
    assert sorted(one for share in shares for one in share["partitions"]) == list(range(MANY))
    assert sorted(one for share in shares for one in share["shards"]) == [f"user-{bucket:02}" for bucket in range(16)]
    assert all(share["partitions"] and share["shards"] for share in shares)


def test_both_in_one_on_two_processes_make_the_same_versions(drained: Operated, uneven: Messages, open_run: Open) -> None:
    run = open_run(uneven, MANY)
    told = run.flow("all", "--drain", "--processes", "2")
    assert closes(told)
    assert run.versions() == drained.versions()


def test_both_in_one_on_two_processes_go_on_where_they_were_stopped(calm: Calm, open_run: Open) -> None:
    """Adapt is in one of the two; the state that its versions name is kept by both."""
    run, (early, late) = open_run(), halves(calm.messages)
    run.produce(early)
    first = run.begin("all", "--processes", "2")
    first.wait_for(lambda: len(run.made()) >= 3, "version 3")
    assert closes(first.stop())
    run.produce(late)
    again = run.begin("all", "--processes", "2")
    again.wait_for(lambda: len(run.made()) >= len(calm.versions), "last version")
    assert closes(again.stop())
    assert run.versions() == calm.versions


@pytest.mark.soak
def test_the_number_of_processes_may_change_at_a_stop(drained: Operated, uneven: Messages, open_run: Open) -> None:
    early = {partition: some[: len(some) // 2] for partition, some in uneven.items()}
    run = open_run(early, MANY)
    flow = run.begin("summarize", "--processes", "2")
    flow.wait_for(lambda: "flow_starts" in flow.said and len(run.read(run.settings.late_events)) > 0, "first late event")
    assert closes(flow.stop())
    run.produce({partition: some[len(early[partition]) :] for partition, some in uneven.items()})
    assert closes(run.flow("summarize", "--drain"))
    assert run.summaries() == drained.summaries()


def test_silent_partitions_are_cut_once_and_every_start_obeys(drained: Operated, uneven: Messages, open_run: Open) -> None:
    """Two processes live: slides wait for the empty and the silent partitions until these are cut, for good."""
    run = open_run(uneven, MANY, idle_after="1s")
    closed = [version for version in drained.versions() if version[0] <= uneven[0][-1][1]]
    flows = [run.begin("summarize", "--processes", "2"), run.begin("adapt")]
    flows[1].wait_for(lambda: len(run.made()) >= len(closed), "last version")
    told = [flow.stop() for flow in flows]
    assert all(closes(one) for one in told)
    cuts = {tuple(cut[:2]) for cut in run.lineage()[-1]["idle_cuts"]}
    assert cuts >= {(partition, len(uneven[partition])) for partition in NEVER | set(HALF)}
    summaries = drained.summaries()
    assert run.summaries().items() <= summaries.items()
    before = run.versions()

    # What comes to a silent partition afterwards is late, also to a start that waits for silent partitions for ever.
    late = uneven[5][0][1]
    run.produce({5: [(json.dumps({"event_time_ms": late, "event_id": "x", "user_id": "u1", "item_id": "i1"}).encode(), late)]})
    run.changes["--idle-after"] = "off"
    again = run.flow("summarize", "--drain")
    assert again["accounting"]["late"] == told[0]["accounting"]["late"] + 1
    run.flow("adapt")
    assert run.versions()[: len(before)] == before
    assert run.summaries() == summaries
    fresh = open_run()
    fresh.summaries_topic = run.settings.summaries
    fresh.flow("adapt")
    assert fresh.versions() == run.versions()


def test_partitions_far_behind_hold_slides_open_and_lose_nothing(drained: Operated, uneven: Messages, open_run: Open) -> None:
    ahead = {partition: some for partition, some in uneven.items() if partition not in (0, 1)}
    run = open_run(ahead, MANY)
    flow = run.begin("summarize")
    flow.wait_for(lambda: len(run.read(run.settings.late_events)) > 0, "first late event")
    assert not run.summaries()
    run.produce({partition: uneven[partition] for partition in (0, 1)})
    flow.stop()
    assert closes(run.flow("summarize", "--drain"))
    assert run.summaries() == drained.summaries()


def test_aborted_transactions_are_never_seen(calm: Calm, open_run: Open) -> None:
    """Between the messages, before and behind them, lie others whose transactions were aborted, and the marks of all."""
    run = open_run()
    producer = Producer({"bootstrap.servers": run.bootstrap, "transactional.id": run.name, "linger.ms": 5})
    producer.init_transactions()
    topic = run.settings.interactions
    for start in range(0, max(map(len, calm.messages.values())), 100):
        for committed in (False, True, False):
            producer.begin_transaction()
            for partition, some in calm.messages.items():
                for value, time_ms in some[start : start + 100]:
                    producer.produce(topic, value if committed else poisoned(time_ms), partition=partition, timestamp=time_ms)
            producer.flush()
            producer.commit_transaction() if committed else producer.abort_transaction()
    live = run.begin("all")
    live.wait_for(lambda: len(run.made()) == len(calm.versions), "last version")
    assert closes(told := live.stop())
    assert told["accounting"]["read"] == calm.expected.read + len(calm.messages)
    assert run.versions() == calm.versions
    told = run.flow("all", "--drain")
    counted = {name: told["accounting"][name] for name in ("read", "late", "duplicate", "dead")}
    expected = {name: getattr(calm.expected, name) for name in counted}
    assert counted == {**expected, "read": expected["read"] + len(calm.messages)}
    assert told["accounting"]["pending"] == 0
    assert run.versions() == calm.live.versions()


def poisoned(time_ms: int) -> bytes:
    """An event that would close every slide."""
    event = {"event_time_ms": time_ms + SKEW_MS, "event_id": f"p{time_ms}", "user_id": "u1", "item_id": "i1"}
    return json.dumps(event).encode()
