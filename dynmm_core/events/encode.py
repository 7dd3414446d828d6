"""Events to messages: one JSON object each, or one Arrow stream of many."""

import orjson
import pyarrow as pa

SCHEMA_VERSION_KEY = b"dynmm.schema_version"


def encode_json(events: pa.RecordBatch) -> list[bytes]:
    """One message per event; nulls are left out."""
    return [orjson.dumps({name: value for name, value in row.items() if value is not None}) for row in events.to_pylist()]


def encode_arrow(events: pa.RecordBatch) -> bytes:
    """One Arrow IPC stream, ids dictionary-encoded."""
    columns = [
        column.dictionary_encode() if name in ("user_id", "item_id") else column
        for name, column in zip(events.schema.names, events.columns, strict=True)
    ]
    batch = pa.RecordBatch.from_arrays(columns, names=events.schema.names).replace_schema_metadata({SCHEMA_VERSION_KEY: b"1"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    message: bytes = sink.getvalue().to_pybytes()
    return message
