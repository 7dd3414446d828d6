"""Plain JSON messages to columns without an object per message; whatever is not plain is left to ``decode_json``.

Producers write one fixed text around their values. It is learnt from a message and compared, byte by byte, with all of them:
where it agrees, the values lie between, and are cut out together. Every result is that of ``decode_json``.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.events.decode import concat_events, decode_json
from dynmm_core.events.json_block import Block, Spans
from dynmm_core.events.json_numbers import decimals, integers
from dynmm_core.events.json_template import Kind, Template, learn, likely_lengths
from dynmm_core.events.letters import Decoded, Origin
from dynmm_core.events.schema import COLUMN_TYPES, MAX_ID_BYTES, MAX_TIME_MS, empty_events, ordered_columns

_MOST_BLOCK_BYTES = 1 << 26  # of longer messages few come at a time
FEWEST = 16  # messages; fewer are not worth a template
_MOST_POOR_ROUNDS = 4  # templates that fit less than one in 32 of the messages left
_MOST_ASIDE = 16  # messages from which nothing is learnt
_MESSAGES_PER_GUESS = 1 << 10
# The allocator keeps as much as was once given back: a block's memory is then not fetched anew for each, a fifth of the time.
_KEPT_BYTES = 31 << 20
np.empty(_KEPT_BYTES, np.uint8)


def decode_json_fast(messages: Sequence[bytes], joined: pa.BinaryArray | None, origin: Origin) -> Decoded:
    """What ``decode_json`` makes of these messages (n,), ``joined`` if they can be; ``origin`` has one offset each, ascending."""
    if len(messages) < FEWEST or joined is None or not 0 < joined.nbytes - 4 * len(joined) - 4 <= _MOST_BLOCK_BYTES:
        return decode_json(messages, origin)
    offsets = _as_array(origin.offsets)
    left = np.arange(len(messages))
    parts: list[Decoded] = []
    poor = aside = 0
    while len(left) - aside >= FEWEST and poor < _MOST_POOR_ROUNDS and aside < _MOST_ASIDE:
        template = learn(messages[left[aside]])
        if template is None:
            aside += 1
            continue
        block = Block(joined if len(left) == len(messages) else joined.take(pa.array(left)))
        sample = [messages[row] for row in left[aside::_MESSAGES_PER_GUESS].tolist()]
        rows, events = _decode_alike(block, template, likely_lengths(template, sample), offsets[left], origin)
        if not len(rows):
            aside += 1
            continue
        parts.append(Decoded(events, offsets[left[rows]], ()))
        poor += len(rows) * 32 < len(left)
        left = np.delete(left, rows)
    if len(left):
        alone = Origin(origin.topic, origin.partition, offsets[left].tolist())
        parts.append(decode_json([messages[row] for row in left.tolist()], alone))
    return merged(parts)


def merged(parts: Sequence[Decoded]) -> Decoded:
    """The events and letters of several runs of messages of one partition, in log order."""
    if len(parts) == 1:
        return parts[0]
    filled = [part for part in parts if part.events.num_rows]
    events = concat_events([part.events for part in filled])
    offsets = np.concatenate([np.zeros(0, np.int64), *(part.offsets for part in filled)])
    rows = None
    if any(part.rows is not None for part in filled):
        rows = np.concatenate([np.full(len(part.offsets), -1) if part.rows is None else part.rows for part in filled])
    if (offsets[1:] < offsets[:-1]).any():
        order = np.argsort(offsets, kind="stable")
        events, offsets = events.take(pa.array(order)), offsets[order]
        rows = None if rows is None else rows[order]
    letters = sorted((letter for part in parts for letter in part.bad), key=lambda letter: letter.offset)
    return Decoded(events, offsets, tuple(letters), rows)


def _decode_alike(
    block: Block, template: Template, lengths: Sequence[int], offsets: np.ndarray, origin: Origin
) -> tuple[np.ndarray, pa.RecordBatch]:
    """The messages (m,) of the block that have the template and sound values, and their events; ``offsets`` (n,) of all."""
    rows, spans = block.match(template, lengths)
    values, sound = _values(block, template, spans)
    rows = np.arange(len(block)) if rows is None else rows
    if not sound.all():
        rows, spans = rows[sound], [(begin[sound], end[sound]) for begin, end in spans]
        values = {name: column[sound] for name, column in values.items()}
    if not len(rows):
        return rows, empty_events()
    columns: dict[str, pa.Array] = {name: pa.array(column) for name, column in values.items()}
    for (name, kind), (begin, end) in zip(template.slots, spans, strict=True):
        if kind in (Kind.TEXT, Kind.DIGITS):
            columns[name] = _texts(block, begin, end)
    for name in template.nulls:
        columns[name] = pa.nulls(len(rows), COLUMN_TYPES.get(name, pa.string()))
    if "event_id" not in columns or "event_id" in template.nulls:
        places = pa.array(offsets[rows]).cast(pa.string())
        columns["event_id"] = pc.binary_join_element_wise(f"{origin.topic}/{origin.partition}", places, "/")
    return rows, pa.RecordBatch.from_pydict({name: columns[name] for name in ordered_columns(columns)})


def _values(block: Block, template: Template, spans: Spans) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The numbers by field, (n,) each, and the rows (n,) bool in which every value is surely in order."""
    values: dict[str, np.ndarray] = {}
    sound = np.ones(len(spans[0][0]), bool)
    for (name, kind), (begin, end) in zip(template.slots, spans, strict=True):
        if kind is Kind.DECIMAL:
            values[name], fit = decimals(block, begin, end)
        elif kind is Kind.INTEGER:
            values[name], fit = integers(block, begin, end)
            fit &= values[name] <= MAX_TIME_MS
        elif kind is Kind.DIGITS:
            fit = integers(block, begin, end)[1]
        elif name in ("event_id", "user_id", "item_id"):
            fit = (begin < end) & (end - begin <= MAX_ID_BYTES)
        else:
            continue
        sound &= fit
    return values, sound


def _texts(block: Block, begin: np.ndarray, end: np.ndarray) -> pa.Array:
    """The texts (n,) from ``begin`` to ``end``: every second one of those that the places bound."""
    places = np.empty(2 * len(begin), np.int32)
    places[0::2], places[1::2] = begin, end
    bounded = pa.StringArray.from_buffers(len(places) - 1, pa.py_buffer(places), block.buffer)
    return bounded.take(pa.array(np.arange(0, len(places), 2, dtype=np.int32)))


def _as_array(offsets: Sequence[int]) -> np.ndarray:
    if isinstance(offsets, range):
        return np.arange(offsets.start, offsets.stop, offsets.step, dtype=np.int64)
    return np.asarray(offsets, np.int64) if isinstance(offsets, np.ndarray) else np.fromiter(offsets, np.int64, len(offsets))
