"""summarize and adapt in one dataflow, joined by the very messages that a broker would carry between them."""

from bytewax.dataflow import Dataflow

from flows.adapt import add_adapt
from flows.config import FlowConfig
from flows.process import FlowProcess
from flows.summarize import add_summarize


def build(config: FlowConfig, process: FlowProcess | None = None) -> Dataflow:
    """The dataflow of a bounded replay; ``process`` gathers its failure, accounts and progress."""
    process = process or FlowProcess()
    flow = Dataflow("embedded")
    add_adapt(add_summarize(flow, config, process), config, process)
    return flow
