"""Numbers of events, users and items as the ids of a log, and back; whole columns at a time."""

import numpy as np
import pyarrow as pa

_DIGITS = 8


def names_of(prefix: str, numbers: np.ndarray) -> pa.Array:
    """Ids (n,) text: the prefix, one letter, and the number in eight digits or as many as the largest needs."""
    largest = int(numbers.max()) if len(numbers) else 0
    digits = max(_DIGITS, len(str(largest)))
    text = np.empty((len(numbers), 1 + digits), np.uint8)
    text[:, 0] = ord(prefix)
    rest = numbers.astype(np.int64, copy=True)
    for place in range(digits, 0, -1):
        rest, digit = np.divmod(rest, 10)
        text[:, place] = digit + ord("0")
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * np.int32(1 + digits)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(text))


def named(prefix: str, numbers: np.ndarray, count: int) -> pa.Array:
    """As ``names_of`` for numbers (n,) below ``count``, many of them alike."""
    return names_of(prefix, np.arange(count)).take(pa.array(numbers))


def numbers_of(prefix: str, names: list[str]) -> np.ndarray:
    """The number (n,) of each id, -1 where a text is no such id."""
    found = np.full(len(names), -1, np.int64)
    for place, name in enumerate(names):
        if name.startswith(prefix) and name[1:].isascii() and name[1:].isdigit() and len(name) >= 1 + _DIGITS:
            found[place] = int(name[1:])
    return found
