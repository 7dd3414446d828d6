"""One user bucket: collects events by slide, and closes a slide when every partition's clock has passed it."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

import numpy as np
import pyarrow as pa

from dynmm_core.events.schema import REQUIRED_COLUMNS
from dynmm_core.windows.clock import NEVER_MS
from dynmm_core.windows.codes import Coded, encode
from dynmm_core.windows.counts import count_items, item_table
from dynmm_core.windows.hashes import EventHashes
from dynmm_core.windows.messages import Chunk, ChunkKind, EndMarker, ShardState, SlideMessage, digest_of, hash_of, pack
from dynmm_core.windows.open_slide import ClosedSlide, OpenSlide
from dynmm_core.windows.pairs import PairSettings, find_pairs
from dynmm_core.windows.progress import IdleCut, ReadPoint, ShardProgress, newest_cuts
from dynmm_core.windows.sample import bucket_share
from dynmm_core.windows.tails import UserTails


@dataclass(frozen=True)
class ShardSettings:
    """What a bucket makes of a slide: its length, how many events all buckets ship (None: all), which pairs it counts.

    ``pairs`` None counts none.
    """

    slide_ms: int
    max_train_events: int | None = None
    pairs: PairSettings | None = None


class ShardWindow:
    """Slides of one bucket, as a state machine of (events, clock) in and chunks, state and end markers out.

    A partition's clock must come in with or behind the events that moved it. What is in a slide depends on the events alone;
    the clocks decide only when it is sent. A resumed bucket goes on behind ``resumed_through_ms`` with the progress and the
    users' newest items that it had there. Cuts that earlier starts have ``told`` of are told of again until they are met.
    """

    def __init__(
        self, run: str, shard: str, partitions: Iterable[int], settings: ShardSettings,
        resumed_through_ms: int = NEVER_MS, progress: ShardProgress | None = None, tails: bytes | None = None,
        told: Iterable[IdleCut] = (),
    ) -> None:  # fmt: skip
        self._run, self.shard, self._settings = run, shard, settings
        self._slide_ms = settings.slide_ms
        self._clocks = dict.fromkeys(partitions, NEVER_MS)
        self._points: dict[int, deque[tuple[int, ReadPoint]]] = {partition: deque() for partition in self._clocks}
        self._open: dict[int, OpenSlide] = {}
        self._closed_through_ms = resumed_through_ms
        self._progress = progress or ShardProgress()
        self._cuts, self._earlier = set(self._progress.cuts), set(told)
        self._tails = UserTails.empty() if tails is None else UserTails.from_bytes(tails)
        self._pending = 0

    @property
    def pending(self) -> int:
        """Events that wait in open slides."""
        return self._pending

    @property
    def open_slides(self) -> int:
        """Slides that hold events and are not sent."""
        return len(self._open)

    @property
    def progress(self) -> ShardProgress:
        """Totals and state behind the newest slide sent."""
        return self._progress

    def add(self, events: pa.RecordBatch, hashes: EventHashes | None = None) -> None:
        """Take in events of open slides, at least one, in any order; ``hashes`` are theirs, where they are known already.

        Raises:
            ValueError: an event's slide was sent already; its partition's clock overtook it.
        """
        hashes = hashes or EventHashes.of(events)
        times = events.column("event_time_ms").to_numpy()
        first, last = int(times.min()) // self._slide_ms, int(times.max()) // self._slide_ms
        if (first + 1) * self._slide_ms <= self._closed_through_ms:
            raise ValueError(f"{self.shard}: an event of slide {first * self._slide_ms} came after it was closed")
        self._pending += events.num_rows
        if first == last:
            self._slide(first).add(events, hashes)
            return
        slides = times // self._slide_ms
        if (slides[1:] < slides[:-1]).any():
            order = np.argsort(slides, kind="stable")
            events, hashes, slides = events.take(pa.array(order)), hashes[order], slides[order]
        starts = np.flatnonzero(np.r_[True, slides[1:] != slides[:-1]]).tolist()
        for start, end in zip(starts, [*starts[1:], len(slides)], strict=True):
            self._slide(int(slides[start])).add(events.slice(start, end - start), hashes[start:end])

    def advance(
        self, partition: int, closed_through_ms: int | None, point: ReadPoint | None = None, cut: IdleCut | None = None
    ) -> Iterator[SlideMessage | ShardState]:
        """Move a partition's clock, unless None; send the slides that every clock has now passed, in order."""
        if closed_through_ms is not None:
            self._clocks[partition] = max(self._clocks[partition], closed_through_ms)
            if point is not None:
                self._points[partition].append((closed_through_ms, point))
        if cut is not None:
            self._cuts.add(cut)
        through = min(self._clocks.values())
        if through <= self._closed_through_ms:
            return
        self._closed_through_ms = through
        closing = sorted(slide for slide in self._open if (slide + 1) * self._slide_ms <= through)
        for slide in closing:
            end_ms = (slide + 1) * self._slide_ms
            yield from self._send(end_ms, self._open.pop(slide), through if slide == closing[-1] else end_ms)
        if not closing:
            self._step_progress(through, 0, 0)
            yield EndMarker(self._run, self.shard, through, through, 0, digest_of(()), 0, 0, self._progress)

    def _slide(self, slide: int) -> OpenSlide:
        found = self._open.get(slide)
        if found is None:
            found = self._open[slide] = OpenSlide(bucket_share(self._settings.max_train_events))
        return found

    def _send(self, end_ms: int, slide: OpenSlide, through: int) -> Iterator[SlideMessage | ShardState]:
        self._pending -= slide.rows
        closed = slide.close()
        tables, state = self._summarize(closed, end_ms)
        payloads = [(kind, payload) for kind, table in tables for payload in pack(table)]
        chunks = [Chunk(self._run, self.shard, end_ms, index, kind, payload) for index, (kind, payload) in enumerate(payloads)]
        yield from chunks
        if state is not None:
            yield state
        self._step_progress(end_ms, len(closed.event_time_ms), closed.duplicates, state)
        digest = digest_of(hash_of(chunk.payload) for chunk in chunks)
        yield EndMarker(
            self._run, self.shard, end_ms, through, len(chunks), digest,
            len(closed.event_time_ms), closed.duplicates, self._progress,
        )  # fmt: skip

    def _summarize(self, closed: ClosedSlide, end_ms: int) -> tuple[list[tuple[ChunkKind, pa.Table]], ShardState | None]:
        """The slide's tables by kind, and what the bucket carries behind it."""
        tails, pairs = self._tails, self._settings.pairs
        users = encode(np.concatenate((np.repeat(tails.user_hash, tails.lengths), closed.hashes.user)))
        items = encode(np.concatenate((tails.item_hash, closed.hashes.item)))
        known = len(tails.item_hash)
        new_users, new_items = (Coded(coded.distinct, coded.codes[known:]) for coded in (users, items))
        tables: list[tuple[ChunkKind, pa.Table]] = [
            ("events", _without_empty(closed.shipped)),
            ("items", item_table(new_items, closed.arrived, closed.item_ids)),
            ("counts", count_items(closed.event_time_ms, new_users, new_items)),
        ]
        if pairs is None:
            return tables, None
        found, self._tails = find_pairs(tails, users, items, closed.event_time_ms, end_ms, pairs)
        payload = self._tails.to_bytes()
        return [*tables, ("pairs", found.to_codes())], ShardState(self._run, self.shard, end_ms, hash_of(payload).hex(), payload)

    def _step_progress(self, end_ms: int, used: int, duplicates: int, state: ShardState | None = None) -> None:
        points = {partition: point for partition in self._clocks if (point := self._point_for(partition, end_ms)) is not None}
        self._cuts = set(newest_cuts(self._cuts, points))
        self._progress = ShardProgress(
            used=self._progress.used + used,
            duplicates=self._progress.duplicates + duplicates,
            pending=self._pending,
            tails=self._progress.tails if state is None else state.digest,
            points=points,
            cuts=tuple(sorted(self._cuts, key=astuple)),
            told=newest_cuts(self._earlier - self._cuts, points),
        )

    def _point_for(self, partition: int, end_ms: int) -> ReadPoint | None:
        """The newest known point of a partition that lies before everything behind ``end_ms``."""
        points = self._points[partition]
        while len(points) > 1 and points[1][0] <= end_ms:
            points.popleft()
        return points[0][1] if points and points[0][0] <= end_ms else self._progress.points.get(partition)


def _without_empty(events: pa.RecordBatch) -> pa.Table:
    """The events without further columns that have no value in any of them.

    Whether such a column is there depends on what was read together: a slide that is made again must be the same to the byte.
    """
    given = [name for name in events.schema.names if name in REQUIRED_COLUMNS or events[name].null_count < events.num_rows]
    return pa.Table.from_batches([events.select(given)]).replace_schema_metadata(None)
