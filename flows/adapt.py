"""The second half of a dataflow: slides' messages in, one version of the store per slide out."""

import bytewax.operators as op
from bytewax.operators import KeyedStream

from flows.items import SummaryItem
from flows.logics import Adapt, AdaptLogic
from flows.process import FlowProcess
from flows.sinks import CollectSink


def add_adapt(summaries: KeyedStream[SummaryItem], adapt: Adapt, process: FlowProcess) -> None:
    """Add the steps from the slides' messages, all under one key, to the engine's reports."""
    reports = op.stateful_batch("adapt_slides", summaries, lambda _: AdaptLogic(adapt, process))
    op.output("count_slides", reports, CollectSink(process.note_report, process))
