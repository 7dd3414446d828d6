"""Values of any kind as text, the same whether a file, a JSON message or an Arrow message brought them."""

from typing import Any

import orjson
import pyarrow as pa


def as_text(column: pa.Array) -> pa.Array:
    """Return each value (n,) as text: a string as it is, anything else as JSON.

    A number that JSON does not have (NaN, infinite) is null, as a missing one; a moment is told to the microsecond.

    Raises:
        ValueError, OverflowError, pyarrow.ArrowInvalid: a moment lies outside the years 1 to 9999, or its zone is not known.
    """
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return as_text(column.cast(pa.timestamp("us", kind.tz), safe=False))
    if pa.types.is_dictionary(kind):
        return as_text(column.dictionary_decode())
    if kind == pa.string():
        return column
    if pa.types.is_large_string(kind) or pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string())
    if pa.types.is_primitive(kind):
        encoded = column.dictionary_encode()
        return _each(encoded.dictionary).take(encoded.indices)
    return _each(column)


def _each(column: pa.Array) -> pa.Array:
    return pa.array([_text_of(value) for value in column.to_pylist()], pa.string())


def _text_of(value: Any) -> str | None:
    document = orjson.dumps(value, default=str)
    if document == b"null":
        return None
    return str(orjson.loads(document)) if document.startswith(b'"') else document.decode()
