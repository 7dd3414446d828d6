"""Events that no topic would take once they are in a slide or a letter: refused where they come in."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.events.letters import BadEvent, Decoded, Origin
from dynmm_core.events.rules import IDS
from dynmm_core.events.wire import ARROW_MARK, MAX_EVENT_BYTES


def without_large(decoded: Decoded, messages: Sequence[bytes | None], origin: Origin) -> Decoded:
    """What was decoded, events of more than ``MAX_EVENT_BYTES`` as letters; ``origin`` has the offset of each message (m,)."""
    sizes = _sizes(decoded.events)
    if sizes is None or not (large := sizes > MAX_EVENT_BYTES).any():
        return decoded
    known = dict(zip(origin.offsets, messages, strict=True))
    events = decoded.events.filter(pa.array(large)).to_pylist()
    places = zip(decoded.offsets[large].tolist(), decoded.rows_of(large), sizes[large].tolist(), strict=True)
    letters = [
        BadEvent(_reason(size), _raw(known[offset], event), origin.topic, origin.partition, offset, row)
        for event, (offset, row, size) in zip(events, places, strict=True)
    ]
    bad = sorted([*decoded.bad, *letters], key=lambda letter: (letter.offset, letter.row or 0))
    return replace(decoded.only(~large), bad=tuple(bad))


def _sizes(events: pa.RecordBatch) -> np.ndarray | None:
    """The bytes of each event (n,) int64 in text that has no other bound, with its names; None if surely all are small."""
    texts = {
        name: column
        for name, column in zip(events.schema.names, events.columns, strict=True)
        if name not in IDS and pa.types.is_string(column.type)
    }
    if events.num_rows == 0 or sum(map(_longest, texts, texts.values())) <= MAX_EVENT_BYTES:
        return None
    sizes = np.zeros(events.num_rows, np.int64)
    for name, column in texts.items():
        sizes += pc.binary_length(column).fill_null(-len(name.encode())).to_numpy(zero_copy_only=False)
        sizes += len(name.encode())
    return sizes


def _longest(name: str, column: pa.Array) -> int:
    return len(name.encode()) + (pc.max(pc.binary_length(column)).as_py() or 0)


def _reason(size: int) -> str:
    return f"message: an event of {size} bytes, as text, is too large; send {MAX_EVENT_BYTES} at most"


def _raw(message: bytes | None, event: dict[str, object]) -> bytes:
    """The message as it came; an event inside a batch stays alone."""
    return orjson.dumps(event, default=str) if message is None or message.startswith(ARROW_MARK) else message
