"""Bytes that should be an Arrow stream to a table, without trusting them."""

import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.events.rules import too_many_fields
from dynmm_core.events.wire import ARROW_END, MAX_FIELDS, VERSION_KEY, version_reason

UNREADABLE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError)
MOST_EVENTS = 1 << 21  # in a message; more rows than that have no bytes of their own
_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)
_MOST_TEXT_BYTES = 1 << 28  # of one column, with every id written out


def read_stream(message: bytes) -> pa.Table:
    """The batches of one message; their bytes are not validated.

    Raises:
        pyarrow.ArrowInvalid, or another of ``UNREADABLE``: it is no whole Arrow stream, or says to be far larger than it is.
    """
    if not message.endswith(ARROW_END):
        raise pa.ArrowInvalid("no whole Arrow stream; it has no end mark")
    with pa.ipc.open_stream(message, options=_OPTIONS) as reader:
        if len(reader.schema) > MAX_FIELDS:
            raise pa.ArrowInvalid(too_many_fields(len(reader.schema)))
        table = reader.read_all()
    if table.num_rows > MOST_EVENTS:
        raise pa.ArrowInvalid(f"{table.num_rows} events in {len(message)} bytes are too many; send {MOST_EVENTS} at most")
    if table.num_rows * len(message) > _MOST_TEXT_BYTES:
        _check_texts(table)
    return table


def check_version(schema: pa.Schema) -> None:
    """Refuse a schema that names a version of the wire that is not known.

    Raises:
        pyarrow.ArrowInvalid: it does.
    """
    version = (schema.metadata or {}).get(VERSION_KEY)
    if version is not None and (reason := version_reason(version)):
        raise pa.ArrowInvalid(reason)


def _check_texts(table: pa.Table) -> None:
    """Few bytes may name a long text many times."""
    table.validate(full=True)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
            continue
        for chunk in column.chunks:
            longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
            if longest * table.num_rows > _MOST_TEXT_BYTES:
                raise pa.ArrowInvalid(f"{name}: texts of up to {longest} bytes in {table.num_rows} rows are too many bytes")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
