"""The second half of the dataflow: slides' messages in, one version of the store per slide out."""

import bytewax.operators as op
from bytewax.operators import KeyedStream

from dynmm_core.windows.messages import SlideMessage
from flows.config import FlowConfig
from flows.operators import AdaptLogic, key_adapt
from flows.process import FlowProcess
from flows.sinks import CollectSink


def add_adapt(messages: KeyedStream[SlideMessage], config: FlowConfig, process: FlowProcess) -> None:
    """Add the steps from the slides' messages to the engine's reports."""
    keyed: KeyedStream[SlideMessage] = op.map("key_adapt", messages, key_adapt)
    reports = op.stateful_batch("adapt_slides", keyed, lambda _: AdaptLogic(config, process))
    op.output("count_slides", reports, CollectSink(process.note_report, process))
