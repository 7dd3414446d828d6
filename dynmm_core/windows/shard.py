"""One user bucket: collects events by slide, and closes a slide when every partition's clock has passed it."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from dynmm_core.events.decode import concat_events
from dynmm_core.windows.clock import NEVER_MS
from dynmm_core.windows.counts import count_items
from dynmm_core.windows.messages import Chunk, ChunkKind, EndMarker, SlideMessage, digest_of, hash_of, pack
from dynmm_core.windows.order import drop_duplicates, sort_canonically

_BATCHES_BEFORE_MERGE = 256  # single rows are merged in groups: a batch of one row costs kilobytes


class ShardWindow:
    """Slides of one bucket, as a state machine of (events, clock) in and chunks and end markers out.

    A partition's clock must come in with or behind the events that moved it. What is in a slide depends on the events alone;
    the clocks decide only when it is sent.
    """

    def __init__(self, run: str, shard: str, partitions: Iterable[int], slide_ms: int) -> None:
        self._run, self._shard, self._slide_ms = run, shard, slide_ms
        self._clocks = dict.fromkeys(partitions, NEVER_MS)
        self._open: dict[int, _OpenSlide] = {}
        self._closed_through_ms = NEVER_MS
        self._pending = 0

    @property
    def pending(self) -> int:
        """Events that wait in open slides."""
        return self._pending

    def add(self, events: pa.RecordBatch) -> None:
        """Take in events of open slides, in any order.

        Raises:
            ValueError: an event's slide was sent already; its partition's clock overtook it.
        """
        slides = events.column("event_time_ms").to_numpy() // self._slide_ms
        first, last = int(slides.min()), int(slides.max())
        if (first + 1) * self._slide_ms <= self._closed_through_ms:
            raise ValueError(f"{self._shard}: an event of slide {first * self._slide_ms} came after it was closed")
        self._pending += events.num_rows
        if first == last:
            self._slide(first).add(events)
            return
        if (slides[1:] < slides[:-1]).any():
            order = np.argsort(slides, kind="stable")
            events, slides = events.take(pa.array(order)), slides[order]
        starts = np.flatnonzero(np.r_[True, slides[1:] != slides[:-1]])
        for start, end in zip(starts, np.r_[starts[1:], len(slides)], strict=True):
            self._slide(int(slides[start])).add(events.slice(start, end - start))

    def advance(self, partition: int, closed_through_ms: int) -> Iterator[SlideMessage]:
        """Move a partition's clock; send the slides that every clock has now passed, in order."""
        self._clocks[partition] = max(self._clocks[partition], closed_through_ms)
        through = min(self._clocks.values())
        if through <= self._closed_through_ms:
            return
        self._closed_through_ms = through
        closing = sorted(slide for slide in self._open if (slide + 1) * self._slide_ms <= through)
        for slide in closing:
            end_ms = (slide + 1) * self._slide_ms
            yield from self._send(end_ms, self._open.pop(slide), through if slide == closing[-1] else end_ms)
        if not closing:
            yield EndMarker(self._run, self._shard, through, through, 0, digest_of(()), 0, 0, self.pending)

    def _slide(self, slide: int) -> "_OpenSlide":
        return self._open.setdefault(slide, _OpenSlide())

    def _send(self, end_ms: int, slide: "_OpenSlide", through: int) -> Iterator[SlideMessage]:
        self._pending -= slide.rows
        events = drop_duplicates(sort_canonically(slide.table()))
        kinds: tuple[tuple[ChunkKind, pa.Table], ...] = (("events", events), ("counts", count_items(events)))
        payloads = [(kind, payload) for kind, table in kinds for payload in pack(table)]
        chunks = [Chunk(self._run, self._shard, end_ms, index, kind, payload) for index, (kind, payload) in enumerate(payloads)]
        yield from chunks
        digest = digest_of(hash_of(chunk.payload) for chunk in chunks)
        yield EndMarker(
            self._run, self._shard, end_ms, through, len(chunks), digest,
            events.num_rows, slide.rows - events.num_rows, self.pending,
        )  # fmt: skip


class _OpenSlide:
    """The events of a slide so far, in order of arrival."""

    def __init__(self) -> None:
        self.rows = 0
        self._merged: list[pa.RecordBatch] = []
        self._recent: list[pa.RecordBatch] = []

    def add(self, events: pa.RecordBatch) -> None:
        self.rows += events.num_rows
        self._recent.append(events)
        if len(self._recent) >= _BATCHES_BEFORE_MERGE:
            self._merged.append(concat_events(self._recent))
            self._recent = []

    def table(self) -> pa.Table:
        events = concat_events(self._merged + self._recent)
        return pa.Table.from_batches([events]).replace_schema_metadata(None)
