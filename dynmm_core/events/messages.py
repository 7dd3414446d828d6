"""Messages of one partition, JSON and Arrow mixed, to events: those of a kind are decoded together, whatever their order."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pyarrow as pa

from dynmm_core.events.arrow_messages import decode_arrow_messages
from dynmm_core.events.fast_json import decode_json_fast, merged
from dynmm_core.events.json_block import bounds_of, join
from dynmm_core.events.letters import BadEvent, Decoded, Origin
from dynmm_core.events.schema import empty_events
from dynmm_core.events.sizes import without_large
from dynmm_core.events.wire import ARROW_MARK, MAX_ARROW_BYTES, MAX_JSON_BYTES, MAX_RAW_BYTES

__all__ = ["ARROW_MARK", "decode_messages"]
MESSAGES_PER_BLOCK = 1 << 14


def decode_messages(messages: Sequence[bytes | None], origin: Origin) -> Decoded:
    """Decode messages of either kind in log order; ``origin`` has one offset per message, ascending.

    A message or an event that is too long, or none at all, is a letter. Fields that the schema does not know are kept as text.
    """
    if len(messages) <= MESSAGES_PER_BLOCK:
        return _decode_block(messages, origin)
    parts: list[Decoded] = []
    for first in range(0, len(messages), MESSAGES_PER_BLOCK):
        last = first + MESSAGES_PER_BLOCK
        parts.append(_decode_block(messages[first:last], Origin(origin.topic, origin.partition, origin.offsets[first:last])))
    return merged(parts)


def _decode_block(messages: Sequence[bytes | None], origin: Origin) -> Decoded:
    return without_large(merged(_by_kind(messages, origin)), messages, origin)


def _by_kind(messages: Sequence[bytes | None], origin: Origin) -> list[Decoded]:
    plain = _all_json(messages)
    if plain is not None:
        return [decode_json_fast(cast("Sequence[bytes]", messages), plain, origin)]
    places: dict[str, list[int]] = {"json": [], "arrow": [], "letter": []}
    for place, message in enumerate(messages):
        places[_kind(message)].append(place)
    parts = [_letter(messages[place], _at(origin, [place])) for place in places["letter"]]
    if places["json"]:
        some = [messages[place] or b"" for place in places["json"]]
        parts.append(decode_json_fast(some, join(some), _at(origin, places["json"])))
    if places["arrow"]:
        parts += decode_arrow_messages([messages[place] or b"" for place in places["arrow"]], _at(origin, places["arrow"]))
    return parts


def _all_json(messages: Sequence[bytes | None]) -> pa.BinaryArray | None:
    """The messages side by side, if all are JSON as far as length and mark tell; found without a look at each."""
    if not messages or messages[0] is None or messages[0].startswith(ARROW_MARK):
        return None
    joined = join(messages)
    if joined is None or joined.null_count:
        return None
    starts, lengths = bounds_of(joined)
    if lengths.max() > MAX_JSON_BYTES:
        return None
    firsts = np.frombuffer(joined.buffers()[2], np.uint8)[starts if lengths.min() else starts[lengths > 0]]
    return None if (firsts == ARROW_MARK[0]).any() else joined


def _kind(message: bytes | None) -> str:
    if message is None:
        return "letter"
    kind, most = ("arrow", MAX_ARROW_BYTES) if message.startswith(ARROW_MARK) else ("json", MAX_JSON_BYTES)
    return "letter" if len(message) > most else kind


def _letter(message: bytes | None, origin: Origin) -> Decoded:
    if message is None:
        reason = "message: no value (a tombstone), and no event"
    else:
        most = MAX_ARROW_BYTES if message.startswith(ARROW_MARK) else MAX_JSON_BYTES
        reason = f"message: {len(message)} bytes are too many; send {most} at most"
    letter = BadEvent(reason, (message or b"")[:MAX_RAW_BYTES], origin.topic, origin.partition, origin.offsets[0])
    return Decoded(empty_events(), np.zeros(0, np.int64), (letter,))


def _at(origin: Origin, places: list[int]) -> Origin:
    return Origin(origin.topic, origin.partition, [int(origin.offsets[place]) for place in places])
