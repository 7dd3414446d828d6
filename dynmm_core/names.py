"""A choice among known names, as a user writes it."""

import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator

Name = TypeVar("Name", bound=str)


def listed(text: str) -> list[str]:
    """Return the names in a text with commas between them."""
    return [name.strip() for name in text.split(",")]


def choose(given: str | Sequence[str], known: Sequence[Name], what: str, instead: str = "") -> tuple[Name, ...]:
    """Return the chosen ones in the order of ``known``; ``instead`` ends a complaint by what else may stand there.

    Args:
        given: names, or one text with commas between them.

    Raises:
        ValueError: a name is unknown or stands twice, or there is none.
    """
    names = listed(given) if isinstance(given, str) else given
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is no {what}; choose from {', '.join(known)}{instead}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{', '.join(names) or 'nothing'!r} must name each {what} once, at least one{instead}")
    return tuple(name for name in known if name in names)


def device_name(name: str) -> str:
    """Return ``name``.

    Raises:
        ValueError: it names neither the CPU nor a GPU.
    """
    if not re.fullmatch(r"cpu|cuda(:\d{1,2})?", name):
        raise ValueError(f"{name!r} is no device; use cpu or cuda")
    return name


DeviceName = Annotated[str, AfterValidator(device_name)]
