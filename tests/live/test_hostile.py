"""What a hostile producer sends becomes slides and letters, on topics that take no more than a broker does by itself."""

import json
from collections.abc import Callable

import orjson
import pyarrow as pa
from calm import Calm
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from live_ops import Messages, Operated
from local_broker import LocalBroker

from dynmm_core.events.encode import encode_arrow
from dynmm_core.events.wire import MAX_EVENT_BYTES

USUAL_BYTES = "1048588"


def hostile(time_ms: int, early_ms: int) -> list[bytes]:
    """Messages that once ended the flow at each start; ``early_ms`` lies in a slide that has closed."""
    base: dict[str, object] = {"event_time_ms": time_ms, "user_id": "u\0", "item_id": "i1\0"}
    quotes = {"zone": '"' * (MAX_EVENT_BYTES - 4)}
    row = {name: [value] for name, value in base.items()}
    sizes = [{"zone": "x" * 2_000_000}, {f"f{number}": 1 for number in range(15_000)}, {"zone": "x" * 200_000}]
    nested = [
        orjson.dumps(base)[:-1] + f',"{name}":{"[" * 1000}{"]" * 1000}}}'.encode() for name in ("zone", "rating", "user_id")
    ]
    bad = pa.RecordBatch.from_pydict(
        {**base, "event_time_ms": [time_ms] * 4, "user_id": ["", None, "v", ""], "item_id": ["i"] * 4}
    )
    return [
        *nested,
        *(encode_arrow(pa.RecordBatch.from_pydict({**row, **{name: [value] for name, value in size.items()}})) for size in sizes),
        *(orjson.dumps({**base, **further}) for further in ({}, quotes, {"zone": [""] * 300_000})),
        *(orjson.dumps({**base, "event_time_ms": early_ms, **further}) for further in (quotes, {"zone": [""] * 80_000})),
        encode_arrow(bad),
    ]


def test_no_message_ends_a_flow_and_every_letter_is_there(
    broker: LocalBroker, calm: Calm, open_run: Callable[..., Operated], done: Callable[..., str]
) -> None:
    messages: Messages = {partition: list(some) for partition, some in calm.messages.items()}
    time_ms = max(sent for _, sent in messages[0])
    early_ms = min(sent for _, sent in messages[0])
    messages[0] += [(value, time_ms) for value in hostile(time_ms, early_ms)]
    run = open_run({})
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for topic in (run.settings.summaries, run.settings.dead_letters, run.settings.late_events):
        entry = ConfigEntry("max.message.bytes", USUAL_BYTES, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result()
    run.produce(messages)
    told = run.flow("summarize", "--drain")["accounting"]
    dead = run.read(run.settings.dead_letters)
    # Nested ones, the Arrow messages of 2 MB and 15,000 columns, the list of 300,000, and three rows of the last.
    assert told["dead"] == len(dead) == len({key for key, _ in dead}) == calm.expected.dead + 3 + 2 + 1 + 3
    late = run.read(run.settings.late_events)
    assert told["late"] == len(late) == calm.expected.late + 2
    assert all(json.loads(value) for _, value in late)
    run.flow("adapt")
    topics = run.options()[: 2 + 2 * 5]
    found = json.loads(done("flow", "redrive", *topics, "--json"))
    cut = sum(count for reason, count in found["by_reason"].items() if reason.endswith("(cut where it was kept, not sent back)"))
    assert (found["sent"], found["passed_over"]) == (len(dead) - cut, cut) and cut == 3
