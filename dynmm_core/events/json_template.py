"""The fixed text of a JSON message and the places of its values in it, learnt from one message."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from dynmm_core.events.schema import REQUIRED_COLUMNS
from dynmm_core.events.wire import MAX_FIELDS, VERSION_FIELD, WIRE_VERSION

LONGEST_LITERAL = 256  # bytes of fixed text between two values
_LONGEST_MESSAGE = 4096  # bytes; a longer one is not worth learning from
_SPACE = rb"[ \t\n\r]*"
_TEXT = rb'"([^"\\\x00-\x1f]*)"'
_OPEN = re.compile(_SPACE + rb"\{")
_FIELD = re.compile(
    _SPACE + _TEXT + _SPACE + rb":" + _SPACE + rb"(?:" + _TEXT + rb"|([0-9][0-9.]*)|(null))" + _SPACE + rb"([,}])"
)
_CLOSE = re.compile(_SPACE + rb"\Z")


class Kind(Enum):
    """What stands in a place: text between quotes, a whole number that is kept as text, or a number."""

    TEXT = "text"
    DIGITS = "digits"
    INTEGER = "integer"
    DECIMAL = "decimal"


_NUMBERS = {"event_time_ms": Kind.INTEGER, "ingest_time_ms": Kind.INTEGER, "rating": Kind.DECIMAL}


@dataclass(frozen=True)
class Template:
    """Fixed texts and, between each two of them, the value of a field; ``nulls`` are fields that are null in the fixed text."""

    literals: tuple[bytes, ...]
    slots: tuple[tuple[str, Kind], ...]
    nulls: tuple[str, ...]

    @property
    def quotes(self) -> int:
        """Quotation marks in the fixed text; the values have none."""
        return sum(literal.count(b'"') for literal in self.literals)

    @property
    def controls(self) -> int:
        """Control characters in the fixed text; the values have none."""
        return sum(byte < 32 for literal in self.literals for byte in literal)


def likely_lengths(template: Template, messages: Sequence[bytes]) -> list[int]:
    """For each value the length that it seems to have most often in these messages, one of the template's at least."""
    seen: list[Counter[int]] = [Counter() for _ in template.slots]
    for message in messages:
        begin = len(template.literals[0])
        for lengths, literal in zip(seen, template.literals[1:], strict=True):
            end = message.find(literal, begin)
            if end < 0:
                break
            lengths[end - begin] += 1
            begin = end + len(literal)
    return [lengths.most_common(1)[0][0] for lengths in seen]


def learn(message: bytes) -> Template | None:
    """The template of a message, or None if it has anything that is not plain: then it has to be decoded by itself."""
    opened = _OPEN.match(message)
    if opened is None or len(message) > _LONGEST_MESSAGE:
        return None
    literals: list[bytes] = []
    slots: list[tuple[str, Kind]] = []
    nulls: list[str] = []
    place, literal_from = opened.end(), 0
    while field := _FIELD.match(message, place):
        name, number = _decoded(field[1]), field[3]
        if name is None or name in nulls or any(name == known for known, _ in slots):
            return None
        if name == VERSION_FIELD:
            if number != str(WIRE_VERSION).encode():
                return None
        elif field[4] is not None:
            nulls.append(name)
        else:
            kind, group = _kind(name, number is not None), 2 if number is None else 3
            if kind is None:
                return None
            slots.append((name, kind))
            literals.append(message[literal_from : field.start(group)])
            literal_from = field.end(group)
        place = field.end()
        if field[5] == b"}":
            break
    literals.append(message[literal_from:])
    if message[place - 1 : place] != b"}" or _CLOSE.match(message, place) is None:
        return None
    template = Template(tuple(literals), tuple(slots), tuple(nulls))
    return template if _is_usable(template) and len(slots) + len(nulls) < MAX_FIELDS else None


def _decoded(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _kind(name: str, is_number: bool) -> Kind | None:
    """How the value of this field is read; None if this is no value for it."""
    if name in _NUMBERS:
        return _NUMBERS[name] if is_number else None
    if name == "event":
        return None if is_number else Kind.TEXT
    return Kind.DIGITS if is_number else Kind.TEXT


def _is_usable(template: Template) -> bool:
    given = {name for name, _ in template.slots}
    longest = max(map(len, template.literals))
    return longest <= LONGEST_LITERAL and given.issuperset(set(REQUIRED_COLUMNS) - {"event_id"})
