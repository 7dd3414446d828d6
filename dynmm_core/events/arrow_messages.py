"""Arrow messages to events, many at once, with fields that the schema does not know as text, as JSON messages have them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from dynmm_core.events.arrow import decode_arrow, decode_tables, unreadable
from dynmm_core.events.arrow_stream import UNREADABLE, check_version, read_stream
from dynmm_core.events.letters import Decoded, Origin
from dynmm_core.events.schema import COLUMN_TYPES
from dynmm_core.events.text import as_text

_MOST_GROUP_BYTES = 1 << 30  # of one text column, if every row had all bytes of its message


def decode_arrow_messages(messages: Sequence[bytes], origin: Origin) -> list[Decoded]:
    """What ``decode_arrow`` makes of each, in runs: those of one schema that follow each other are checked and cast at once."""
    parts = []
    for first, tables in _runs(messages):
        last = first + max(len(tables), 1)
        try:
            if not tables:
                raise pa.ArrowInvalid("told by decode_arrow")
            check_version(tables[0].schema)
            pa.concat_tables(tables).validate(full=True)
            parts.append(_further_as_text(decode_tables(tables, _at(origin, first, last))))
        except UNREADABLE:
            parts += [_alone(messages[index], _at(origin, index, index + 1)) for index in range(first, last)]
    return parts


def _alone(message: bytes, origin: Origin) -> Decoded:
    try:
        return _further_as_text(decode_arrow(message, origin))
    except UNREADABLE as error:
        return unreadable(error, message, origin)


def _at(origin: Origin, first: int, last: int) -> Origin:
    return Origin(origin.topic, origin.partition, origin.offsets[first:last])


def _runs(messages: Sequence[bytes]) -> Iterator[tuple[int, list[pa.Table]]]:
    """The place of the first message of each run, and the tables of its messages; none for one that cannot be read."""
    run: list[pa.Table] = []
    schema, text_bytes = pa.schema([]), 0
    for index, message in enumerate(messages):
        try:
            table = read_stream(message)
        except UNREADABLE:
            if run:
                yield index - len(run), run
            yield index, []
            run, text_bytes = [], 0
            continue
        text_bytes += table.num_rows * len(message)
        if not run:
            schema = table.schema
        elif text_bytes > _MOST_GROUP_BYTES or not schema.equals(table.schema, check_metadata=True):
            yield index - len(run), run
            run, text_bytes, schema = [], table.num_rows * len(message), table.schema
        run.append(table)
    if run:
        yield len(messages) - len(run), run


def _further_as_text(decoded: Decoded) -> Decoded:
    """A field's type must not depend on who sent it: the columns of several messages are put together."""
    events = decoded.events
    columns = dict(zip(events.schema.names, events.columns, strict=True))
    further = {name: as_text(column) for name, column in columns.items() if name not in COLUMN_TYPES}
    return replace(decoded, events=pa.RecordBatch.from_pydict({**columns, **further})) if further else decoded
