"""Messages as one run of bytes, with the places at which a template can be compared with all of them at once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from dynmm_core.events.json_template import LONGEST_LITERAL, Template

_PAD = b" " * (LONGEST_LITERAL + 16)  # a comparison at a wrong place still lies within the bytes
_WORD = 8
_QUOTE, _BACKSLASH, _SPACE, _ASCII_END = 34, b"\\", 32, 128


class Block:
    """Messages side by side. ``starts``, ``ends`` (n,): of each; ``clean`` (n,) bool: no backslash, and valid UTF-8."""

    def __init__(self, messages: Sequence[bytes], lengths: np.ndarray) -> None:
        joined = b"".join((_PAD, *messages, _PAD))
        self.buffer = pa.py_buffer(joined)
        self.bytes = np.frombuffer(joined, np.uint8)
        self.ends = np.cumsum(lengths) + len(_PAD)
        self.starts = self.ends - lengths
        self.lengths = lengths
        self._quotes = np.flatnonzero(self.bytes == _QUOTE)
        self._first_quote, self._quote_count = self._spread(self._quotes)
        self._controls: np.ndarray | None = None
        if self.bytes.min() < _SPACE:
            self._controls = self._spread(np.flatnonzero(self.bytes < _SPACE))[1]
        self.clean = np.ones(len(lengths), bool)
        if _BACKSLASH in joined:
            self.clean &= self._spread(np.flatnonzero(self.bytes == ord(_BACKSLASH)))[1] == 0
        if self.bytes.max() >= _ASCII_END and not _is_utf8(joined):
            self.clean &= self._spread(np.flatnonzero(self.bytes >= _ASCII_END))[1] == 0

    def windows(self, places: np.ndarray, width: int) -> np.ndarray:
        """The ``width`` bytes from each place (n,) on: (n, width) uint8."""
        found: np.ndarray = self._views(width)[places].view(np.uint8).reshape(len(places), width)
        return found

    def match(self, template: Template, rows: np.ndarray) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """Which of the rows (n,) have the template's fixed text, and for each of its values where (m,) it begins and ends.

        A value of text has neither quotes, backslashes nor control characters; what the other values are is not looked at.
        """
        likely = self.clean[rows] & (self._quote_count[rows] == template.quotes)
        likely &= self.lengths[rows] >= sum(map(len, template.literals))
        likely &= (0 if self._controls is None else self._controls[rows]) == template.controls
        rows = rows[likely]
        spans: list[tuple[np.ndarray, np.ndarray]] = []
        quotes, text_end = 0, self.starts[rows]
        last = len(template.literals) - 1
        for index, literal in enumerate(template.literals):
            if index == 0:
                place = text_end
            elif index == last:
                place = self.ends[rows] - len(literal)
            else:
                place = self._quotes[self._first_quote[rows] + quotes] - literal.index(b'"')
            same = self._same(place, literal) & (text_end <= place)
            if not same.all():
                rows, place, text_end = rows[same], place[same], text_end[same]
                spans = [(begin[same], end[same]) for begin, end in spans]
            if index:
                spans.append((text_end, place))
            quotes, text_end = quotes + literal.count(b'"'), place + len(literal)
        return rows, spans

    def _same(self, places: np.ndarray, literal: bytes) -> np.ndarray:
        """At which of the places (n,) the literal stands."""
        if len(literal) < _WORD:
            alike: np.ndarray = self._views(len(literal))[places] == np.void(literal)
            return alike
        words: np.ndarray = np.ndarray((len(self.bytes) - _WORD + 1,), "<u8", self.bytes, strides=(1,))
        same = np.ones(len(places), bool)
        for place in (*range(0, len(literal) - _WORD, _WORD), len(literal) - _WORD):  # the last word may overlap the one before
            same &= words[places + place] == np.frombuffer(literal, "<u8", 1, place)[0]
        return same

    def _views(self, width: int) -> np.ndarray:
        """At every place the ``width`` bytes from there on, as one value: those are copied and compared without a loop."""
        return np.ndarray((len(self.bytes) - width + 1,), f"V{width}", self.bytes, strides=(1,))

    def _spread(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each message the first of the places (n,) that is not before it, and how many (n,) lie in it."""
        each, over = divmod(len(places), len(self.starts))
        if each and not over and self._lie_evenly(places.reshape(-1, each)):
            return np.arange(0, len(places), each), np.full(len(self.starts), each)
        first = np.searchsorted(places, self.starts)
        return first, np.diff(first, append=len(places))

    def _lie_evenly(self, places: np.ndarray) -> bool:
        """Whether every message has its row of the places (n, each): nearly always so, and cheaper to see than to find out."""
        return bool((places[:, 0] >= self.starts).all() and (places[:, -1] < self.ends).all())


def _is_utf8(joined: bytes) -> bool:
    try:
        joined.decode()
    except UnicodeDecodeError:
        return False
    return True
