"""A choice among known names, as a user writes it."""

import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator

Name = TypeVar("Name", bound=str)


def choose(given: Sequence[str], known: Sequence[Name], what: str, instead: str = "") -> tuple[Name, ...]:
    """Return the chosen ones in the order of ``known``; ``instead`` ends a complaint by what else may stand there.

    Raises:
        ValueError: a name is unknown or stands twice, or there is none.
    """
    for name in given:
        if name not in known:
            raise ValueError(f"{name!r} is no {what}; choose from {', '.join(known)}{instead}")
    if not given or len(set(given)) < len(given):
        raise ValueError(f"{', '.join(given) or 'nothing'!r} must name each {what} once, at least one{instead}")
    return tuple(name for name in known if name in given)


def _device(name: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"{name!r} is no device; use cpu or cuda")
    return name


DeviceName = Annotated[str, AfterValidator(_device)]
