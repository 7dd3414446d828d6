"""One partition of a live log: messages in, events with their clock out; goes on where a recorded run left off."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dynmm_core.events.letters import BadEvent, Origin
from dynmm_core.events.messages import ARROW_MARK, decode_messages
from dynmm_core.windows.clock import DRAINED_MS, NEVER_MS
from dynmm_core.windows.intake import Intake, Taken
from dynmm_core.windows.progress import IdleCut, PartitionTally, ReadPoint


@dataclass(frozen=True)
class ReadSettings:
    """What decides an event's fate where it is read; times in ms. ``max_skew_ms`` None checks no skew."""

    slide_ms: int
    allowed_lateness_ms: int
    max_skew_ms: int | None


class PartitionReader:
    """Decodes, checks and counts the messages of one partition, from a read point on.

    Recorded ``cuts`` are met at their offsets, wherever a batch begins or ends; after one at ``DRAINED_MS`` the partition is
    ``finished``. Messages between the point's memory offset and its offset are only remembered.
    """

    def __init__(
        self, topic: str, point: ReadPoint, settings: ReadSettings,
        resumed_through_ms: int = NEVER_MS, cuts: Iterable[IdleCut] = (),
    ) -> None:  # fmt: skip
        self._topic, self._partition = topic, point.tally.partition
        self._settings, self._point = settings, point
        self._intake = Intake(
            topic, self._partition, settings.slide_ms, settings.allowed_lateness_ms, settings.max_skew_ms,
            point, resumed_through_ms,
        )  # fmt: skip
        self._cuts = sorted((cut for cut in cuts if cut.partition == self._partition), key=_by_place)
        self.next_offset = point.memory_offset
        self.finished = False

    @property
    def tally(self) -> PartitionTally:
        """Events so far, by what became of them."""
        return self._intake.tally

    @property
    def newest_ms(self) -> int:
        """Newest event time so far."""
        return self._intake.newest_ms

    @property
    def closed_through_ms(self) -> int:
        """The end of the newest slide that this partition has closed."""
        return self._intake.closed_through_ms

    def end_at(self, offset: int) -> None:
        """Have the partition end before ``offset``: it is drained there."""
        self._cuts = sorted([*self._cuts, IdleCut(self._partition, offset, DRAINED_MS)], key=_by_place)

    def read(
        self, values: Sequence[bytes | None], offsets: Sequence[int], timestamps_ms: np.ndarray | None, next_offset: int
    ) -> list[Taken]:
        """Take in the next messages: values, offsets and broker times (n,) int64 each; the log is read up to ``next_offset``."""
        taken = self._meet_cuts()
        first = 0
        while not self.finished and self.next_offset < next_offset:
            place = min(self._next_place(), next_offset)
            last = first + int(np.searchsorted(_array(offsets[first:]), place)) if place < next_offset else len(values)
            if last > first:
                times = None if timestamps_ms is None else timestamps_ms[first:last]
                taken += self._take(values[first:last], offsets[first:last], times, place)
            self.next_offset, first = place, last
            taken += self._meet_cuts()
        return taken

    def idle(self, now_ms: int, idle_after_ms: int, is_sure: Callable[[], bool] = lambda: True) -> list[Taken]:
        """Nothing has come for ``idle_after_ms``: let the clock follow the wall clock, that long and the lateness behind it.

        ``is_sure`` is asked once more before a cut is made.
        """
        slide_ms = self._settings.slide_ms
        through = (now_ms - idle_after_ms - self._settings.allowed_lateness_ms) // slide_ms * slide_ms
        behind_point = self.next_offset >= self._point.offset
        due = through > self.closed_through_ms and behind_point
        return [self._intake.cut(through, self.next_offset)] if due and is_sure() else []

    def _take(
        self, values: Sequence[bytes | None], offsets: Sequence[int], timestamps_ms: np.ndarray | None, place: int
    ) -> list[Taken]:
        decoded = decode_messages(values, Origin(self._topic, self._partition, offsets))
        ingested_ms, places = timestamps_ms, _array(offsets)
        if ingested_ms is not None and not np.array_equal(places, decoded.offsets):
            ingested_ms = ingested_ms[np.searchsorted(places, decoded.offsets)]
        if place <= self._point.offset:
            self._intake.remember(decoded, ingested_ms)
            return []
        taken = self._intake.take(decoded, place, ingested_ms)
        if len(taken.dead) > len(decoded.bad):
            known = dict(zip(offsets, values, strict=True))
            taken = replace(taken, dead=tuple(_with_raw(letter, known[letter.offset]) for letter in taken.dead))
        return [taken]

    def _next_place(self) -> int:
        """The next offset at which something happens."""
        places = [cut.offset for cut in self._cuts[:1]]
        if self.next_offset < self._point.offset:
            places.append(self._point.offset)
        return min(places, default=1 << 62)

    def _meet_cuts(self) -> list[Taken]:
        taken = []
        while self._cuts and self._cuts[0].offset <= self.next_offset and self.next_offset >= self._point.offset:
            cut = self._cuts.pop(0)
            taken.append(self._intake.cut(cut.closed_through_ms, cut.offset))
            self.finished = self.finished or cut.closed_through_ms == DRAINED_MS
        return taken


def _array(offsets: Sequence[int]) -> np.ndarray:
    # NumPy would ask a range for every one of its numbers.
    return np.arange(offsets.start, offsets.stop) if isinstance(offsets, range) else np.asarray(offsets, np.int64)


def _by_place(cut: IdleCut) -> tuple[int, int]:
    return cut.offset, cut.closed_through_ms


def _with_raw(letter: BadEvent, message: bytes | None) -> BadEvent:
    """The letter with the message as it came; an event inside a batch stays alone."""
    whole = message is not None and not message.startswith(ARROW_MARK)
    return replace(letter, raw=message) if whole and message is not None else letter
