"""Messages of one partition, JSON and Arrow mixed, to events: those of a kind are decoded together, whatever their order."""

from collections.abc import Sequence
from typing import cast

import numpy as np

from dynmm_core.events.arrow_messages import decode_arrow_messages
from dynmm_core.events.fast_json import decode_json_fast, merged
from dynmm_core.events.letters import BadEvent, Decoded, Origin
from dynmm_core.events.schema import empty_events
from dynmm_core.events.wire import ARROW_MARK, MAX_ARROW_BYTES, MAX_JSON_BYTES, MAX_RAW_BYTES

__all__ = ["ARROW_MARK", "decode_messages"]


def decode_messages(messages: Sequence[bytes | None], origin: Origin) -> Decoded:
    """Decode messages of either kind in log order; ``origin`` has one offset per message, ascending.

    A message that is too long, or none at all, is a letter. Fields that the schema does not know are kept as text.
    """
    if not messages:
        return Decoded(empty_events(), np.zeros(0, np.int64), ())
    plain = _all_json(messages)
    if plain is not None:
        return decode_json_fast(*plain, origin)
    places: dict[str, list[int]] = {"json": [], "arrow": [], "letter": []}
    for place, message in enumerate(messages):
        places[_kind(message)].append(place)
    parts = [_letter(messages[place], _at(origin, [place])) for place in places["letter"]]
    if places["json"]:
        some = [messages[place] or b"" for place in places["json"]]
        parts.append(decode_json_fast(some, _lengths(some), _at(origin, places["json"])))
    if places["arrow"]:
        parts += decode_arrow_messages([messages[place] or b"" for place in places["arrow"]], _at(origin, places["arrow"]))
    return merged(parts)


def _all_json(messages: Sequence[bytes | None]) -> tuple[Sequence[bytes], np.ndarray] | None:
    """The messages with their lengths (n,), if all are JSON as far as length and mark tell; found without a look at each."""
    values = cast("Sequence[bytes]", messages)
    try:
        lengths = _lengths(values)
    except TypeError:  # there is a None
        return None
    return (values, lengths) if lengths.max() <= MAX_JSON_BYTES and max(values) < ARROW_MARK else None


def _lengths(messages: Sequence[bytes]) -> np.ndarray:
    return np.fromiter(map(len, messages), np.int64, len(messages))


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
