"""The state machines of the library inside the engine: one window per bucket, and one assembler with one engine."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from bytewax.operators import StatefulBatchLogic

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.windows.messages import ShardState, SlideMessage
from dynmm_core.windows.shard import ShardWindow
from dynmm_core.windows.slides import Slide, SlideAssembler
from flows.items import BucketItem, SummaryItem
from flows.process import FlowProcess, Report

MakeWindow = Callable[[int], ShardWindow]
KeepState = Callable[[ShardState], None]


class SummarizeLogic(StatefulBatchLogic[BucketItem, SlideMessage, None]):
    """One bucket's window inside the engine, which tells a logic no key: the first item names the bucket."""

    def __init__(self, make_window: MakeWindow, process: FlowProcess, keep_state: KeepState | None = None) -> None:
        self._make_window, self._process, self._keep_state = make_window, process, keep_state
        self._window: ShardWindow | None = None
        self._step = process.guarded(self._summarize)

    def on_batch(self, values: list[BucketItem]) -> tuple[list[SlideMessage], bool]:
        """Take in events, then the clock of the same item."""
        return self._step(values), StatefulBatchLogic.RETAIN

    def snapshot(self) -> None:
        """None: the end markers say where to go on."""

    def _summarize(self, values: list[BucketItem]) -> list[SlideMessage]:
        if self._window is None:
            self._window = self._make_window(values[0].bucket)
            self._process.ledger.add_window(self._window)
        messages: list[SlideMessage] = []
        for item in values:
            if item.events is not None:
                self._window.add(item.events, item.hashes)
            if item.closed_through_ms is None and item.cut is None:
                continue
            for message in self._window.advance(item.partition, item.closed_through_ms, item.point, item.cut):
                if not isinstance(message, ShardState):
                    messages.append(message)
                elif self._keep_state is not None:
                    self._keep_state(message)
        return messages


class AdaptLogic(StatefulBatchLogic[SummaryItem, Report, None]):
    """The assembler and the engine inside the dataflow: complete slides are ranked, learned from and committed in order."""

    def __init__(self, adapt: "Adapt", process: FlowProcess) -> None:
        self._adapt = adapt
        self._step = process.guarded(self._take)

    def on_batch(self, values: list[SummaryItem]) -> tuple[list[Report], bool]:
        """Take in chunks and markers; every slide that completes goes through the engine at once."""
        return self._step(values), StatefulBatchLogic.RETAIN

    def snapshot(self) -> None:
        """None: the store's head is the truth of how far adapt got."""

    def _take(self, values: list[SummaryItem]) -> list[Report]:
        return self._adapt.take_all(values)


class Adapt:
    """Summaries in, reports of committed slides out; the engine is opened with the first complete slide.

    ``watch`` is called then, and what it returns with every report.
    """

    def __init__(
        self, engine: str, settings: AdaptSettings, assembler: SlideAssembler, process: FlowProcess,
        watch: Callable[[], Callable[[Report], None]],
    ) -> None:  # fmt: skip
        self._engine_name, self._settings, self._assembler, self._process = engine, settings, assembler, process
        self._watch = watch
        self._engine: Any = None
        self._told: Callable[[Report], None] | None = None

    def take_all(self, items: Sequence[SummaryItem]) -> list[Report]:
        """Take in messages; the slides that they complete are committed when this returns."""
        return [self._on_slide(slide) for item in items for slide in self._assembler.add(item.message)]

    def open(self) -> Any:
        """The engine, opened; only here does a process import what learns."""
        if self._engine is None:
            module, _, function = self._engine_name.partition(":")
            self._engine = getattr(importlib.import_module(module), function)(self._settings)
            self._told = self._watch()
        return self._engine

    def _on_slide(self, slide: Slide) -> Report:
        report: Report = self.open().on_slide(slide)
        assert self._told is not None
        self._told(report)
        return report
