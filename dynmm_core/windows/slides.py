"""Complete slides: put together from every bucket's chunks once all buckets have closed them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import pyarrow as pa

from dynmm_core.errors import DynmmError
from dynmm_core.events.schema import ordered_columns
from dynmm_core.windows.clock import DRAINED_MS, NEVER_MS
from dynmm_core.windows.counts import name_items, sum_counts
from dynmm_core.windows.messages import Chunk, EndMarker, SlideMessage, digest_of, hash_of
from dynmm_core.windows.order import sort_canonically
from dynmm_core.windows.progress import RunProgress, ShardProgress
from dynmm_core.windows.sample import sample_events

_REMEMBERED_SLIDES = 64


class SlideConflict(DynmmError):
    """What was sent about a slide contradicts itself; going on would learn from a wrong slide."""


@dataclass(frozen=True)
class Slide:
    """One step of adapt: all events of one stretch of event time.

    ``slide_end_ms`` is exclusive and a multiple of the slide's length (UTC). ``events`` are in canonical order (event_time_ms,
    event_id) with the schema's columns, then further ones by name; a column that may be missing is there if an event has it.
    ``counts``: item_id, pane_start_ms, events, users per 5-minute pane, sorted by (pane_start_ms, item_id). ``duplicates`` were
    dropped. ``counted`` events are behind ``counts``; ``events`` are all of these, or a sample. ``resume`` says where reading
    must go on behind this slide, as JSON; ``idle_cuts`` (partition, next offset, closed_through_ms) are those that shaped it.
    """

    slide_start_ms: int
    slide_end_ms: int
    events: pa.Table
    counts: pa.Table
    duplicates: int
    counted: int = 0
    resume: dict[str, Any] | None = None
    idle_cuts: tuple[tuple[int, int, int], ...] = ()


@dataclass
class _Part:
    """What one bucket has sent about one slide."""

    chunks: dict[int, Chunk] = field(default_factory=dict)
    marker: EndMarker | None = None


@dataclass
class _Known:
    """What one bucket has said about one slide, as hashes: chunks by index, and the marker's word."""

    chunks: dict[int, bytes] = field(default_factory=dict)
    marker: str | None = None


class SlideAssembler:
    """Chunks and end markers in, complete slides in order out; an empty slide yields nothing.

    Messages of one bucket come in its order, buckets in any. A message that comes again must equal what came before. Slides that
    end by the progress's ``through_ms`` are done: what still comes of them is passed over. Of ``max_train_events`` and more
    events a slide carries the sample.
    """

    def __init__(
        self, run: str, shards: Iterable[str], slide_ms: int,
        max_train_events: int | None = None, resumed: RunProgress | None = None,
    ) -> None:  # fmt: skip
        self._run, self._slide_ms, self._max_train_events = run, slide_ms, max_train_events
        self._resumed_through_ms = NEVER_MS if resumed is None else resumed.through_ms
        self._through = dict.fromkeys(shards, self._resumed_through_ms)
        self._emitted_through_ms = self._resumed_through_ms
        self._open: dict[int, dict[str, _Part]] = {}
        self._known: dict[int, dict[str, _Known]] = {}
        self._progress = {shard: deque([(NEVER_MS, ShardProgress())]) for shard in self._through}
        if resumed is not None:
            for shard, progress in resumed.shards.items():
                self._progress[shard] = deque([(NEVER_MS, replace(progress, points=resumed.points, cuts=resumed.cuts))])

    @property
    def open_slides(self) -> int:
        """Slides of which something has arrived, and that are not complete."""
        return len(self._open)

    @property
    def closed_through_ms(self) -> int:
        """The end of the newest slide that every bucket has closed."""
        return min(self._through.values())

    def add(self, message: SlideMessage) -> list[Slide]:
        """Take in one message; return the slides that it completes.

        Raises:
            SlideConflict: wrong run, unknown bucket, a repeated key with other content, a missing chunk or a wrong hash.
        """
        if message.run != self._run or message.shard not in self._through:
            raise SlideConflict(
                f"shard: {message.run}/{message.shard} is not part of run {self._run} with {len(self._through)} shards"
            )
        done = message.slide_end_ms <= self._resumed_through_ms
        if isinstance(message, Chunk):
            if not done:
                self._take_chunk(message)
            return []
        if message.chunks and not done:
            self._take_marker(message)
        if message.closed_through_ms <= self._through[message.shard]:
            return []
        self._through[message.shard] = message.closed_through_ms
        self._progress[message.shard].append((message.slide_end_ms, message.progress))
        through = min(self._through.values())
        return self._complete(through) if through > self._emitted_through_ms else []

    def _take_chunk(self, chunk: Chunk) -> None:
        known = self._known_about(chunk)
        found = hash_of(chunk.payload)
        if known.chunks.setdefault(chunk.index, found) != found:
            raise SlideConflict(f"chunk {chunk.index} of {_where(chunk)} came twice with other content")
        if chunk.slide_end_ms > self._emitted_through_ms:
            self._part(chunk).chunks[chunk.index] = chunk

    def _take_marker(self, marker: EndMarker) -> None:
        known = self._known_about(marker)
        if known.marker is not None and known.marker != marker.digest:
            raise SlideConflict(f"the end marker of {_where(marker)} came twice with other content")
        if sorted(known.chunks) != list(range(marker.chunks)):
            raise SlideConflict(f"{_where(marker)} has {len(known.chunks)} of {marker.chunks} chunks")
        if digest_of(known.chunks[index] for index in range(marker.chunks)) != marker.digest:
            raise SlideConflict(f"{_where(marker)} does not hash to its end marker's digest")
        known.marker = marker.digest
        if marker.slide_end_ms > self._emitted_through_ms and self._part(marker).marker is None:
            self._part(marker).marker = marker

    def _part(self, message: SlideMessage) -> _Part:
        return self._open.setdefault(message.slide_end_ms, {}).setdefault(message.shard, _Part())

    def _known_about(self, message: SlideMessage) -> _Known:
        known = self._known.get(message.slide_end_ms, {}).get(message.shard)
        if known is None:
            if message.slide_end_ms <= self._through[message.shard]:
                raise SlideConflict(f"{_where(message)} came after the bucket had closed it")
            known = self._known.setdefault(message.slide_end_ms, {})[message.shard] = _Known()
        return known

    def _complete(self, through: int) -> list[Slide]:
        self._emitted_through_ms = through
        ready = sorted(end_ms for end_ms in self._open if end_ms <= through)
        slides = [self._assemble(end_ms, self._open.pop(end_ms)) for end_ms in ready]
        complete = sorted(end_ms for end_ms in self._known if end_ms <= through)
        for end_ms in complete[:-_REMEMBERED_SLIDES]:
            del self._known[end_ms]
        return slides

    def _assemble(self, end_ms: int, parts: dict[str, _Part]) -> Slide:
        unfinished = [shard for shard, part in parts.items() if part.marker is None]
        if unfinished:
            raise SlideConflict(f"slide_end_ms: {end_ms} has chunks but no end marker from {', '.join(unfinished)}")
        in_order = [chunk for shard in sorted(parts) for _, chunk in sorted(parts[shard].chunks.items())]
        events = pa.concat_tables([chunk.read() for chunk in in_order if chunk.kind == "events"], promote_options="default")
        events = sort_canonically(events.select(ordered_columns(events.column_names)))
        counts = sum_counts([_counts_of(parts[shard]) for shard in sorted(parts)])
        duplicates = sum(part.marker.duplicates for part in parts.values() if part.marker)
        counted = int(counts["events"].to_numpy().sum())
        events = sample_events(events, self._max_train_events).combine_chunks()
        progress = self._progress_at(end_ms)
        idle_cuts = tuple(astuple(cut) for cut in progress.cuts if cut.closed_through_ms != DRAINED_MS)
        return Slide(
            end_ms - self._slide_ms, end_ms, events, counts, duplicates, counted,
            resume=progress.to_json(), idle_cuts=idle_cuts,
        )  # fmt: skip

    def _progress_at(self, end_ms: int) -> RunProgress:
        """Every bucket's progress behind the slide: that of its newest marker up to it."""
        for markers in self._progress.values():
            while len(markers) > 1 and markers[1][0] <= end_ms:
                markers.popleft()
        return RunProgress.merged(end_ms, {shard: markers[0][1] for shard, markers in self._progress.items()})


def _counts_of(part: _Part) -> pa.Table:
    items, counts = (
        pa.concat_tables([chunk.read() for _, chunk in sorted(part.chunks.items()) if chunk.kind == kind])
        for kind in ("items", "counts")
    )
    return name_items(counts, items["item_id"])


def _where(message: SlideMessage) -> str:
    return f"slide_end_ms {message.slide_end_ms} from {message.shard}"
