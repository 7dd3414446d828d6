"""Something required of a figure, and whether it holds."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """Something required: ``value`` must be at least ``bound``, or at most where ``most``; None: it was not measured."""

    name: str
    value: float | None
    bound: float
    most: bool = False
    stretch: bool = False

    def to_json(self) -> dict[str, Any]:
        """The check with its verdict."""
        passed = None if self.value is None else self.value <= self.bound if self.most else self.value >= self.bound
        limit = "most" if self.most else "least"
        value = None if self.value is None else round(self.value, 3)
        return {"check": self.name, "value": value, limit: self.bound, "passed": passed, "stretch": self.stretch}
