"""Numbers in text, many at once: each is read exactly as a JSON parser reads it, or said to be doubtful."""

import numpy as np

from dynmm_core.events.json_block import Block

MOST_CHARACTERS = 15  # every number of 15 digits is exact as an integer and as a float
_ZERO = ord("0")
_DOT = ord(".") - _ZERO + 256  # as the difference of two bytes
_POWERS = 10.0 ** np.arange(MOST_CHARACTERS)


def integers(block: Block, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers (n,) int64 that stand at ``begin`` to ``end``, and which of them (n,) bool are surely that."""
    digits, sound = _characters(block, begin, end)
    if digits.max(initial=0) > 9:
        sound &= (digits <= 9).all(axis=1)
    sound &= (block.bytes[begin] != _ZERO) | (end - begin == 1)
    return _value(digits), sound


def decimals(block: Block, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers (n,) float64 that stand at ``begin`` to ``end``, and which of them (n,) bool are surely that."""
    digits, sound = _characters(block, begin, end)
    value, fraction = np.zeros((2, len(begin)), np.int64)
    dotted = np.zeros(len(begin), bool)
    for column in np.ascontiguousarray(digits.T):
        dot = column == _DOT
        sound &= (column <= 9) | (dot & ~dotted)
        fraction += dotted
        dotted |= dot
        value = np.where(dot, value, value * 10 + column) if dot.any() else value * 10 + column
    first = block.bytes[begin]
    sound &= (first != ord(".")) & (digits[:, -1] != _DOT)
    sound &= (first != _ZERO) | (end - begin == 1) | (block.bytes[begin + 1] == ord("."))
    # Both are exact, so that their quotient is rounded once, as a parser rounds.
    return value / _POWERS[fraction], sound


def _characters(block: Block, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The characters (n, width) less ``0``, to the right, filled up with zeros; and which rows (n,) are of a fit length."""
    lengths = end - begin
    sound = (lengths >= 1) & (lengths <= MOST_CHARACTERS)
    width = min(max(int(lengths.max(initial=1)), 1), MOST_CHARACTERS)
    digits = block.windows(end - width, width) - np.uint8(_ZERO)
    if lengths.min(initial=width) < width:
        digits[np.arange(width) < (width - lengths)[:, None]] = 0
    return digits, sound


def _value(digits: np.ndarray) -> np.ndarray:
    value = np.zeros(len(digits), np.int64)
    for column in digits.T:
        value *= 10
        value += column
    return value
