"""Events to messages: one JSON object each, or one Arrow stream of many."""

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.events.wire import VERSION_KEY, WIRE_VERSION

_ESCAPED = r'["\\\x00-\x1f]'


def encode_json(events: pa.RecordBatch) -> list[bytes]:
    """One message per event; nulls are left out. No version is written: a message without one has the first."""
    fields = [_fields(name, column) for name, column in zip(events.schema.names, events.columns, strict=True)]
    objects = pc.binary_join_element_wise("{", pc.utf8_ltrim(pc.binary_join_element_wise(*fields, ""), ","), "}", "")
    messages: list[bytes] = objects.cast(pa.binary()).to_pylist()
    return messages


def _fields(name: str, column: pa.Array) -> pa.Array:
    """Each value (n,) as a field of an object behind others, empty where it is null."""
    key = f",{orjson.dumps(name).decode()}:"
    texts = pc.binary_join_element_wise(key, _texts(column), "")
    return texts.fill_null("") if texts.null_count else texts


def _texts(column: pa.Array) -> pa.Array:
    """Each value (n,) as JSON; the kinds of columns that events have at once, others one by one."""
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if pa.types.is_string(column.type) and not pc.any(pc.match_substring_regex(column, _ESCAPED)).as_py():
        return pc.binary_join_element_wise('"', column, '"', "")
    texts = [None if value is None else orjson.dumps(value).decode() for value in column.to_pylist()]
    # A number that JSON does not have is null, as a missing one.
    return pa.array([None if text == "null" else text for text in texts], pa.string())


def encode_arrow(events: pa.RecordBatch) -> bytes:
    """One Arrow IPC stream, ids dictionary-encoded, with the version of the wire in its schema."""
    columns = [
        column.dictionary_encode() if name in ("user_id", "item_id") else column
        for name, column in zip(events.schema.names, events.columns, strict=True)
    ]
    metadata = {VERSION_KEY: str(WIRE_VERSION).encode()}
    batch = pa.RecordBatch.from_arrays(columns, names=events.schema.names).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    message: bytes = sink.getvalue().to_pybytes()
    return message
