"""Numbers in text, many at once: each is read exactly as a JSON parser reads it, or said to be doubtful."""

import numpy as np

from dynmm_core.events.json_block import Block

MOST_CHARACTERS = 15  # every number of 15 digits is exact as an integer and as a float
_WORD = 8
_ZERO = ord("0")
_DOT = ord(".") - _ZERO + 256  # as the difference of two bytes
_POWERS = 10.0 ** np.arange(MOST_CHARACTERS)
_ZEROS = np.uint64(int.from_bytes(b"0" * _WORD, "little"))
_OVER_NINE, _HIGH_BITS = np.uint64(0x7676767676767676), np.uint64(0x8080808080808080)
# Neighbouring digits, pairs and fours: what each is worth in the upper one's place, the places that then count.
_STEPS = tuple(
    (np.uint64((power << shift) + 1), np.uint64(shift), np.uint64(mask))
    for power, shift, mask in ((10, 8, 0x00FF00FF00FF00FF), (100, 16, 0x0000FFFF0000FFFF), (10_000, 32, 0x00000000FFFFFFFF))
)
# _KEPT[n] keeps the last n characters of a word.
_KEPT = np.array([((1 << 64) - 1) ^ ((1 << (8 * (_WORD - kept))) - 1) for kept in range(_WORD + 1)], np.uint64)


def integers(block: Block, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers (n,) int64 that stand at ``begin`` to ``end``, and which of them (n,) bool are surely that."""
    lengths = end - begin
    sound = (lengths >= 1) & (lengths <= MOST_CHARACTERS)
    characters = block.windows(end - 2 * _WORD, 2 * _WORD)
    value, odd = _eight_digits(characters[:, _WORD:], lengths)
    if lengths.max(initial=0) > _WORD:
        upper, upper_odd = _eight_digits(characters[:, :_WORD], lengths - _WORD)
        value += upper * 10**_WORD
        odd |= upper_odd
    sound &= odd == 0
    sound &= (block.bytes[begin] != _ZERO) | (lengths == 1)
    return value, sound


def _eight_digits(characters: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last ``lengths`` (n,) of eight characters (n, 8) as a number (n,) int64; not 0 (n,) where one of these is no digit."""
    digits = characters.view("<u8")[:, 0] ^ _ZEROS
    if int(lengths.min(initial=_WORD)) < _WORD:
        digits &= _KEPT[np.clip(lengths, 0, _WORD)]
    odd = digits + _OVER_NINE
    odd |= digits
    odd &= _HIGH_BITS
    # Two neighbours become one number of twice the width at a time (Lemire 2018).
    for worth, shift, mask in _STEPS:
        digits *= worth
        digits >>= shift
        digits &= mask
    return digits.view(np.int64), odd


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
    sound &= (first != _ZERO) | (end - begin == 1) | (block.bytes[np.minimum(begin + 1, end)] == ord("."))
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
