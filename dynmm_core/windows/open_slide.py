"""One bucket's slide while it is open: integers of every event, and whole rows of those that it may ship."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.events.decode import concat_events
from dynmm_core.windows.hashes import EventHashes
from dynmm_core.windows.order import first_of_each, time_order
from dynmm_core.windows.sample import smallest

_BATCHES_BEFORE_MERGE = 256  # single rows are merged in groups: a batch of one row costs kilobytes
_PRUNE_FACTOR = 3


@dataclass(frozen=True, eq=False)
class ClosedSlide:
    """The events of a slide, each once, by (event_time_ms, hash of event_id): times (n,) int64 ms and hashes.

    ``item_ids`` (rows,) are those of all events as they arrived, and ``arrived`` (n,) tells each event's place among them.
    ``shipped``: whole rows of all events or of the sample, in their order; ``duplicates`` were dropped.
    """

    event_time_ms: np.ndarray
    hashes: EventHashes
    arrived: np.ndarray
    item_ids: pa.Array
    shipped: pa.RecordBatch
    duplicates: int


class OpenSlide:
    """Collects the events of one slide in order of arrival; ``most`` is how many whole rows it will ship (None: all)."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self.rows = 0
        self._times: list[np.ndarray] = []
        self._hashes: list[EventHashes] = []
        self._item_ids: list[pa.Array] = []
        self._whole = _WholeRows(most)

    def add(self, events: pa.RecordBatch, hashes: EventHashes) -> None:
        """Take in events with their hashes."""
        self._times.append(events.column("event_time_ms").to_numpy())
        self._hashes.append(hashes)
        self._item_ids.append(events.column("item_id"))
        self._whole.add(events, hashes.event, self.rows)
        self.rows += events.num_rows
        if len(self._times) >= _BATCHES_BEFORE_MERGE:
            self._times = [np.concatenate(self._times)]
            self._hashes = [EventHashes.joined(self._hashes)]
            self._item_ids = [pa.concat_arrays(self._item_ids)]

    def close(self) -> ClosedSlide:
        """Put the events in order and drop duplicates."""
        times, hashes = np.concatenate(self._times), EventHashes.joined(self._hashes)
        item_ids, whole = pa.concat_arrays(self._item_ids), self._whole.joined()
        order = time_order(times, hashes)
        times, hashes = times[order], hashes[order]
        first = first_of_each(times, hashes, lambda rows: whole.ranks(order[rows]))
        if first is not None:
            order, times, hashes = order[first], times[first], hashes[first]
        chosen = smallest(hashes.event, self._most)
        shipped = whole.take(order if chosen is None else order[chosen])
        return ClosedSlide(times, hashes, order, item_ids, shipped, self.rows - len(order))


class _WholeRows:
    """Whole rows of a slide with their numbers in it; those that can no more be in the sample are dropped now and then."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._limit: np.uint64 | None = None
        self._prune_at = _PRUNE_FACTOR * most if most is not None else None
        self._rows: list[pa.RecordBatch] = []
        self._numbers: list[np.ndarray] = []
        self._keys: list[np.ndarray] = []
        self._count = 0

    def add(self, events: pa.RecordBatch, keys: np.ndarray, number: int) -> None:
        """Take in rows that are numbered from ``number`` on; ``keys`` (n,) uint64 decide about the sample."""
        numbers = np.arange(number, number + len(keys))
        if self._limit is not None:
            near = keys <= self._limit
            events, numbers, keys = events.filter(pa.array(near)), numbers[near], keys[near]
        self._rows.append(events)
        self._numbers.append(numbers)
        self._keys.append(keys)
        self._count += len(keys)
        if len(self._rows) >= _BATCHES_BEFORE_MERGE:
            self._merge()
        if self._most is not None and self._prune_at is not None and self._count > self._prune_at:
            self._prune(self._most)
            self._prune_at = _PRUNE_FACTOR * self._count

    def joined(self) -> "JoinedRows":
        """All rows that are left."""
        self._merge()
        return JoinedRows(self._rows[0], self._numbers[0])

    def _merge(self) -> None:
        self._rows = [concat_events(self._rows)]
        self._numbers, self._keys = [np.concatenate(self._numbers)], [np.concatenate(self._keys)]

    def _prune(self, most: int) -> None:
        self._merge()
        (keys,) = self._keys
        # Of events that came twice both may be among these keys: distinct ones are counted.
        ordered = np.sort(keys)
        distinct = ordered[np.r_[True, ordered[1:] != ordered[:-1]]]
        self._limit = distinct[min(most, len(distinct)) - 1] if len(distinct) >= most else None
        near = keys <= (distinct[-1] if self._limit is None else self._limit)
        self._rows = [self._rows[0].filter(pa.array(near))]
        self._numbers, self._keys = [self._numbers[0][near]], [keys[near]]
        self._count = len(self._keys[0])


@dataclass(frozen=True, eq=False)
class JoinedRows:
    """Whole rows with their numbers (n,) in the slide, rising."""

    rows: pa.RecordBatch
    numbers: np.ndarray

    def take(self, numbers: np.ndarray) -> pa.RecordBatch:
        """The rows of these numbers, in this order."""
        places = np.empty(int(self.numbers[-1]) + 1, np.int64)
        places[self.numbers] = np.arange(len(self.numbers))
        return self.rows.take(pa.array(places[numbers]))

    def ranks(self, numbers: np.ndarray) -> np.ndarray:
        """A rank (m,) for each number, by everything that the rows hold; rows that were dropped rank alike."""
        places = np.searchsorted(self.numbers, numbers)
        known = np.flatnonzero(self.numbers.take(places, mode="clip") == numbers)
        ranks = np.zeros(len(numbers), np.int64)
        rows = self.rows.take(pa.array(places[known]))
        ranks[known] = _ranks(rows)
        return ranks


def _ranks(rows: pa.RecordBatch) -> np.ndarray:
    ranks = np.empty(rows.num_rows, np.int64)
    by = [(name, "ascending") for name in rows.schema.names]
    ranks[pc.sort_indices(rows, sort_keys=by).to_numpy()] = np.arange(rows.num_rows)
    return ranks
