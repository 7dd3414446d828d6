"""The first half of a dataflow: what a source reads in, chunks and end markers of every user bucket's slides out."""

import bytewax.operators as op
from bytewax.dataflow import Stream
from bytewax.operators import KeyedStream

from dynmm_core.windows.messages import SlideMessage
from flows.items import BucketItem, ReadItem, route_buckets
from flows.logics import KeepState, MakeWindow, SummarizeLogic
from flows.process import FlowProcess


def add_summarize(
    read: Stream[ReadItem], make_window: MakeWindow, process: FlowProcess, keep_state: KeepState | None = None
) -> KeyedStream[SlideMessage]:
    """Add the steps from items read to the slides' messages, keyed by bucket."""
    routed: KeyedStream[BucketItem] = op.flat_map("route_buckets", read, process.guarded(route_buckets))
    return op.stateful_batch("summarize_slides", routed, lambda _: SummarizeLogic(make_window, process, keep_state))
