"""How slides, letters and announcements lie on the wire: keys, values, headers."""

from dataclasses import dataclass
from typing import Any

import orjson

from dynmm_core.errors import UserError
from dynmm_core.events.letters import BadEvent
from dynmm_core.windows.intake import LateEvent
from dynmm_core.windows.messages import Chunk, EndMarker, SlideMessage
from dynmm_core.windows.progress import ShardProgress

WIRE_VERSION = b"1"
_END = "end"
_MOST_RAW_BYTES = 65_536
_MOST_LATE_BYTES = 786_432  # in JSON an event may take six times its bytes, and columns of others; topics take 1 MiB


@dataclass(frozen=True)
class Record:
    """What a sink produces: key, value and headers; ``partition`` None leaves the choice to the key."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    partition: int | None = None


def record_of(message: SlideMessage, slide_ms: int, partition: int) -> Record:
    """A chunk as its Arrow bytes, an end marker as JSON; keyed run/shard/slide_end_ms/(chunk or "end")."""
    part = str(message.index) if isinstance(message, Chunk) else _END
    key = f"{message.run}/{message.shard}/{message.slide_end_ms}/{part}".encode()
    headers = [("schema_version", WIRE_VERSION)]
    if isinstance(message, Chunk):
        return Record(key, message.payload, [*headers, ("kind", message.kind.encode())], partition)
    document = {
        "closed_through_ms": message.closed_through_ms, "slide_ms": slide_ms, "chunks": message.chunks,
        "digest": message.digest, "events": message.events, "duplicates": message.duplicates,
        "progress": message.progress.to_json(),
    }  # fmt: skip
    return Record(key, orjson.dumps(document), headers, partition)


def message_of(key: bytes, value: bytes, headers: dict[str, bytes], slide_ms: int) -> SlideMessage:
    """Read what :func:`record_of` wrote.

    Raises:
        UserError: it was written by another release, or with slides of another length.
    """
    if headers.get("schema_version") != WIRE_VERSION:
        raise UserError(
            f"schema_version: a summary of {headers.get('schema_version')!r}, not {WIRE_VERSION!r}; upgrade adapt first"
        )
    run, shard, end_ms, part = key.decode().rsplit("/", 3)
    if part != _END:
        kind: Any = headers["kind"].decode()
        return Chunk(run, shard, int(end_ms), int(part), kind, value)
    document = orjson.loads(value)
    if document["slide_ms"] != slide_ms:
        raise UserError(
            f"slide: run {run} sends slides of {document['slide_ms']} ms, not {slide_ms}; give --slide {document['slide_ms']}ms"
        )
    return EndMarker(
        run, shard, int(end_ms), document["closed_through_ms"], document["chunks"], document["digest"],
        document["events"], document["duplicates"], ShardProgress.from_json(document["progress"]),
    )  # fmt: skip


def run_of(key: bytes | None) -> str | None:
    """The run that a summary belongs to; None for a key that is none of ours."""
    parts = (key or b"").decode("utf-8", "replace").rsplit("/", 3)
    return parts[0] if len(parts) == 4 else None


def is_marker(key: bytes) -> bool:
    """Whether this is the key of an end marker."""
    return key.endswith(b"/end")


def dead_record(letter: BadEvent) -> Record:
    """A dead letter: the bytes as they came, and why and where in the headers; cut where no topic would take them whole."""
    headers = [("reason", letter.reason.encode()), *_origin(letter)]
    return _cut(Record(_place(letter), letter.raw, headers), _MOST_RAW_BYTES)


def late_record(late: LateEvent) -> Record:
    """A late event as JSON, and by how much it missed in the headers; cut where no topic would take it whole."""
    headers = [("late_by_ms", str(late.late_by_ms).encode()), *_origin(late)]
    return _cut(Record(_place(late), late.event, headers), _MOST_LATE_BYTES)


def _cut(record: Record, most: int) -> Record:
    size = len(record.value)
    if size <= most:
        return record
    return Record(record.key, record.value[:most], [*record.headers, ("raw_bytes", str(size).encode())])


def _place(found: BadEvent | LateEvent) -> bytes:
    # The same event read twice has the same key, and no other has it: a reader of the topic can tell.
    row = "" if found.row is None else f"/{found.row}"
    return f"{found.topic}/{found.partition}/{found.offset}{row}".encode()


def _origin(found: BadEvent | LateEvent) -> list[tuple[str, bytes]]:
    return [("topic", found.topic.encode()), ("partition", str(found.partition).encode()), ("offset", str(found.offset).encode())]
