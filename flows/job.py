"""A dataflow as a process is told of it: by the name of the function that opens it, and its configuration as JSON."""

import importlib
from collections.abc import Callable

from bytewax.dataflow import Dataflow
from pydantic import BaseModel, ConfigDict

from flows.process import FlowProcess

OnFailure = Callable[[BaseException], None]


class Job(BaseModel):
    """``opener`` is an import string ``module:function``; it gets the configuration, the process's number, and whom to tell of
    the first failure, and returns the process's state and the dataflow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    opener: str
    config: str
    epoch_ms: int

    def open(self, number: int, on_failure: OnFailure | None = None) -> tuple[FlowProcess, Dataflow]:
        """This process's state and its dataflow."""
        module, _, function = self.opener.partition(":")
        process, flow = getattr(importlib.import_module(module), function)(self.config, number, on_failure)
        return process, flow
