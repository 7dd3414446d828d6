"""An exception on its way from a worker process to the one that started it."""

import importlib
import traceback

from pydantic import BaseModel, ConfigDict


class FailureNote(BaseModel):
    """An exception as text: its class, its message, where it was raised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: str
    name: str
    message: str
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> "FailureNote":
        """The note of an exception."""
        kind = type(error)
        trace = "".join(traceback.format_exception(error))
        plain = len(error.args) == 1 and isinstance(error.args[0], str)
        message = error.args[0] if plain else str(error)
        return cls(module=kind.__module__, name=kind.__qualname__, message=message, trace=trace[-20_000:])

    def to_exception(self) -> BaseException:
        """The exception again, of its own class where that takes a message, with the worker's traceback as a note."""
        error = self._rebuild()
        error.add_note(f"raised in a dataflow process:\n{self.trace}")
        return error

    def _rebuild(self) -> BaseException:
        try:
            kind = getattr(importlib.import_module(self.module), self.name)
            if issubclass(kind, BaseException):
                return kind(self.message)  # type: ignore[no-any-return]
        except (ImportError, AttributeError, TypeError):
            pass
        return RuntimeError(f"{self.name}: {self.message}")
