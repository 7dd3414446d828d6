"""Messages of one partition, JSON and Arrow mixed, to events. (First version, to be replaced by the fast one.)"""

from collections.abc import Sequence

import numpy as np

from dynmm_core.events.arrow import decode_arrow
from dynmm_core.events.decode import concat_events, decode_json
from dynmm_core.events.letters import BadEvent, Decoded, Origin
from dynmm_core.events.schema import empty_events

ARROW_MARK = b"\xff\xff\xff\xff"


def decode_messages(messages: Sequence[bytes | None], origin: Origin) -> Decoded:
    """Decode messages in log order."""
    parts = []
    run: list[bytes] = []
    offsets: list[int] = []

    def flush() -> None:
        if run:
            parts.append(decode_json(list(run), Origin(origin.topic, origin.partition, list(offsets))))
            run.clear()
            offsets.clear()

    for message, offset in zip(messages, origin.offsets, strict=True):
        if message is not None and len(message) > (1 << 20 if not message.startswith(ARROW_MARK) else 1 << 24):
            flush()
            letter = BadEvent(
                f"message: {len(message)} bytes are too many", message[:65536], origin.topic, origin.partition, offset
            )
            parts.append(Decoded(empty_events(), np.zeros(0, np.int64), (letter,)))
            continue
        if message is not None and message.startswith(ARROW_MARK):
            flush()
            parts.append(decode_arrow(message, Origin(origin.topic, origin.partition, [offset])))
        else:
            run.append(message or b"")
            offsets.append(offset)
    flush()
    return Decoded(
        concat_events([part.events for part in parts if part.events.num_rows]),
        np.concatenate([np.zeros(0, np.int64), *(part.offsets for part in parts)]),
        tuple(letter for part in parts for letter in part.bad),
    )
