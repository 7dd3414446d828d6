"""Quix Streams' hopping windows over a topic of its own, which the job fills first: its windows are by message key."""

import json
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from measuring import measure, read_job, tell, write_csv
from quixstreams import Application
from quixstreams.dataframe.windows import Count

_SILENT_S = 60.0
_LAST_ITEM = "behind-the-last"  # its one event lies so late that it closes every window before it


def main() -> None:
    """Run the application of the job."""
    job = read_job()
    topic_name = f"quix-{job['run']}"
    cells = _fill(job, topic_name)
    app = Application(
        broker_address=job["bootstrap"], consumer_group=topic_name, auto_offset_reset="earliest",
        state_dir=f"{job['folder']}/state", loglevel="ERROR",
    )  # fmt: skip
    topic = app.topic(topic_name, value_deserializer="json", timestamp_extractor=lambda value, *_: value["event_time_ms"])
    counts = (
        app.dataframe(topic).hopping_window(job["window_ms"], job["slide_ms"], grace_ms=job["lateness_ms"]).agg(events=Count())
    )
    found: list[dict[str, Any]] = []
    counts.final(closing_strategy="partition")
    result = measure(lambda: found.extend(app.run(timeout=_SILENT_S, count=cells, metadata=True)), job["events"])
    write_csv(job["cells"], [(window["end"], window["_key"].decode(), window["events"]) for window in found])
    tell(result)


def _fill(job: dict[str, Any], topic: str) -> int:
    """Send the events; return how many windows will come."""
    admin = AdminClient({"bootstrap.servers": job["bootstrap"]})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    producer = Producer({"bootstrap.servers": job["bootstrap"], "linger.ms": 50, "queue.buffering.max.messages": 1_000_000})
    last_ms, slide_ms = 0, job["slide_ms"]
    panes: set[tuple[int, str]] = set()
    with open(job["path"], "rb") as file:
        for line in file:
            event = json.loads(line)
            last_ms = max(last_ms, event["event_time_ms"])
            panes.add((event["event_time_ms"] // slide_ms, event["item_id"]))
            producer.produce(topic, line.rstrip(), key=event["item_id"])
    behind = {"event_time_ms": last_ms + 10 * job["window_ms"], "item_id": _LAST_ITEM}
    producer.produce(topic, json.dumps(behind).encode(), key=_LAST_ITEM)
    producer.flush()
    return len({(pane + ahead, item) for pane, item in panes for ahead in range(job["window_ms"] // slide_ms)})


if __name__ == "__main__":
    main()
