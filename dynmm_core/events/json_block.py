"""Messages as one run of bytes, with the places at which a template can be compared with all of them at once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dynmm_core.events.byte_windows import windows
from dynmm_core.events.json_template import Template

_WORD = 8
_SEARCHED_BYTES = (32, 256, 2_048)
_MOST_SEARCHED_BYTES = 1 << 22  # at once
_FEW = 16  # one in so many
_QUOTE, _BACKSLASH, _SPACE, _ASCII_END = 34, 92, 32, 128

Spans = list[tuple[np.ndarray, np.ndarray]]


def join(messages: Sequence[bytes | None]) -> pa.BinaryArray | None:
    """The messages side by side; None if they are longer than 2 GiB. Arrow copies them faster than they can be looked at."""
    joined = pa.array(messages, pa.binary())
    return joined if isinstance(joined, pa.BinaryArray) else None


def bounds_of(joined: pa.BinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """Of each message (n,) int64 the place of its first byte in Arrow's buffer, and its length."""
    places = np.frombuffer(joined.buffers()[1], np.int32)[joined.offset : joined.offset + len(joined) + 1].astype(np.int64)
    return places[:-1], np.diff(places)


class Block:
    """Messages (n,) that can be compared, at least one byte among them. ``starts``, ``ends`` (n,) int64: the bytes of each."""

    def __init__(self, joined: pa.BinaryArray) -> None:
        starts, lengths = bounds_of(joined)
        self.starts = starts - starts[0]
        self.ends = self.starts + lengths
        self.buffer: pa.Buffer = joined.buffers()[2].slice(int(starts[0]), int(self.ends[-1]))
        self.bytes = np.frombuffer(self.buffer, np.uint8)
        self._controls = self.bytes < _SPACE if self.bytes.min() < _SPACE else None
        self._unclean = self._find_unclean()

    def __len__(self) -> int:
        return len(self.starts)

    def windows(self, places: np.ndarray, width: int) -> np.ndarray:
        """The ``width`` bytes from each place (n,) on: (n, width) uint8. Of a place before the first byte, any."""
        return windows(self.bytes, places, width)

    def match(self, template: Template, lengths: Sequence[int]) -> tuple[np.ndarray | None, Spans]:
        """Which messages (m,) have the template's fixed text, None for all; where (m,) each of its values begins and ends.

        A value of text has neither quotes, backslashes nor control characters; what the other values are is not looked at. A
        message with a value of more than 2,000 bytes may be left out. ``lengths``: one that is likely, for each value.
        """
        first, *middle, last = template.literals
        begin = self.starts + len(first)
        alike = self._stands(self.starts, first)
        spans: Spans = []
        for literal, length in zip(middle, lengths, strict=False):
            end = begin + length
            found = self._stands(end, literal)
            if not found.all():
                self._find(literal, begin, end, found, np.flatnonzero(alike & ~found))
                alike &= found
            spans.append((begin, end))
            begin = end + len(literal)
        end = self.ends - len(last)
        alike &= self._stands(end, last)
        alike &= begin <= end
        spans.append((begin, end))
        if self._unclean is not None:
            alike &= ~self._unclean
        for marks, each in ((self.bytes == _QUOTE, template.quotes), (self._controls, template.controls)):
            self._refuse_further(marks, each, alike)
        if alike.all():
            return None, spans
        return np.flatnonzero(alike), [(begin[alike], end[alike]) for begin, end in spans]

    def _find(self, literal: bytes, begin: np.ndarray, end: np.ndarray, found: np.ndarray, rows: np.ndarray) -> None:
        """Find where else the values of these rows (m,) end: at the first quote behind ``begin`` the literal has its first."""
        ahead = literal.index(b'"')
        for width in (min(width, len(self.bytes)) for width in _SEARCHED_BYTES):
            longer = rows[:0]
            for some in np.array_split(rows, max(1, len(rows) * width // _MOST_SEARCHED_BYTES)):
                from_here = begin[some]
                places = np.minimum(from_here, len(self.bytes) - width)
                quotes = self.windows(places, width) == _QUOTE
                if (over := from_here - places).any():
                    quotes &= np.arange(width) >= over[:, None]
                there = places + quotes.argmax(axis=1) - ahead
                stands = self._stands(there, literal) & (there >= from_here)
                end[some[stands]] = there[stands]
                found[some[stands]] = True
                longer = np.concatenate((longer, some[~stands][~quotes[~stands].any(axis=1)]))
            rows = longer

    def _refuse_further(self, marks: np.ndarray | None, each: int, alike: np.ndarray) -> None:
        """Take those out of ``alike`` (n,) bool that have more marked bytes than the fixed text, which has so many in each.

        They have those at least; so none has one more if all together have no more.
        """
        if marks is None:
            return
        others = np.flatnonzero(~alike)
        if len(others) * _FEW <= len(self):
            bounds = zip(self.starts[others].tolist(), self.ends[others].tolist(), strict=True)
            count = np.count_nonzero(marks) - sum(np.count_nonzero(marks[start:end]) for start, end in bounds)
            if count == each * (len(self) - len(others)):
                return
        alike &= self._spread(np.flatnonzero(marks))[1] == each

    def _stands(self, places: np.ndarray, literal: bytes) -> np.ndarray:
        """Whether the literal stands at the places (m,); of a place so near the end that it cannot, anything."""
        last = len(self.bytes) - len(literal)
        if places.max(initial=0) > last:
            places = np.minimum(places, last)
        if len(literal) < _WORD:
            word = self.windows(places + len(literal) - _WORD, _WORD).view("<u8")[:, 0] >> np.uint64(8 * (_WORD - len(literal)))
            return np.asarray(word == int.from_bytes(literal, "little"))
        found = self.windows(places, len(literal))
        stands = np.ones(len(places), bool)
        for skip in (*range(0, len(literal) - _WORD, _WORD), len(literal) - _WORD):  # the last word may overlap the one before
            stands &= found[:, skip : skip + _WORD].view("<u8")[:, 0] == np.frombuffer(literal, "<u8", 1, skip)[0]
        return stands

    def _find_unclean(self) -> np.ndarray | None:
        """The messages (n,) bool that have a backslash or are no UTF-8, as far as is easily told; None if there are none."""
        marks = self.bytes == _BACKSLASH
        found = marks.any()
        if self.bytes.max() >= _ASCII_END and not _is_utf8(self.buffer):
            marks |= self.bytes >= _ASCII_END
            found = True
        return self._spread(np.flatnonzero(marks))[1] > 0 if found else None

    def _spread(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each message the first of the places (m,) that is not before it, and how many (n,) lie in it."""
        each, over = divmod(len(places), len(self))
        if each and not over and self._lie_evenly(places.reshape(-1, each)):
            return np.arange(0, len(places), each), np.full(len(self), each)
        first = np.searchsorted(places, self.starts)
        return first, np.diff(first, append=len(places))

    def _lie_evenly(self, places: np.ndarray) -> bool:
        """Whether every message has its row of the places (n, each): often so, and cheaper to see than to find out."""
        return bool((places[:, 0] >= self.starts).all() and (places[:, -1] < self.ends).all())


def _is_utf8(buffer: pa.Buffer) -> bool:
    try:
        buffer.to_pybytes().decode()
    except UnicodeDecodeError:
        return False
    return True
