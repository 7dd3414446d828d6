"""What is known of a request, such as region, device or its place in a session: as codes, and which items are clicked where."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynmm_core.events.text import as_text
from dynmm_core.events.wire import VERSION_FIELD
from dynmm_core.evidence.decayed_table import DecayedTable

MOST_VALUES = 63
MOST_COLUMNS = 6
KINDS = 2
_CODE_BITS = 7  # a value's code takes six, by_opening's flag one
_PRIOR = 20.0
_POSITIONS, _LENGTHS = np.array([1, 2, 3, 6]), np.array([1, 3, 10, 30])
_LEAST_TOLD = 20  # events without the most frequent value: fewer tell nothing about who decides it
_ITEM_DECIDES = 0.02
_CLICK_DECIDES = 0.02  # of the steps within a session


@dataclass(frozen=True)
class ContextColumns:
    """Columns of the log with the values that have a code: the k-th of them is k + 1, 0 is none or any other.

    ``of_click`` names those that are known only with a click; see LastClicks. ``left_out``: those for which there was no place.
    """

    values: Mapping[str, tuple[str, ...]]
    of_click: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def places_of_click(self) -> tuple[int, ...]:
        """Where the columns ``of_click`` lie among all."""
        return tuple(place for place, name in enumerate(self.values) if name in self.of_click)

    def encode(self, table: pa.Table) -> np.ndarray:
        """Return the codes (n, columns) int64 of a table's rows; a column that it lacks is 0.

        A column's type does not matter: a message's text has the code of the number that stood in a log.
        """
        codes = np.zeros((table.num_rows, len(self.values)), np.int64)
        for place, (name, values) in enumerate(self.values.items()):
            if name in table.column_names and table.num_rows:
                texts = _texts(table[name])
                found = pc.index_in(texts.dictionary, value_set=pa.array(values, pa.string())).fill_null(-1)
                codes[:, place] = found.take(texts.indices).fill_null(-1).to_numpy().astype(np.int64) + 1
        return codes

    def known(self, codes: np.ndarray) -> dict[str, float]:
        """Return by column the share of the rows of ``codes`` (n, columns), n > 0, whose value has a code."""
        return dict(zip(self.values, (codes > 0).mean(0).tolist(), strict=True))


def with_kinds(context: np.ndarray, session_position: np.ndarray, history_length: np.ndarray) -> np.ndarray:
    """Return codes (n, columns + KINDS): those of the log's columns, then classes of session position and of history length.

    What opens a session is not what is clicked later in one, and newcomers click what regulars have seen.
    """
    kinds = np.searchsorted(_POSITIONS, session_position, "right"), np.searchsorted(_LENGTHS, history_length, "right")
    return np.concatenate([context, np.stack(kinds, axis=1)], axis=1)


def by_opening(context: np.ndarray, session_position: np.ndarray) -> np.ndarray:
    """Return the codes (n, columns) ``context`` of the log's columns, apart for what opens a session and for what comes later."""
    return np.asarray(2 * context + (session_position == 0)[:, None])


def choose_context(table: pa.Table, item_idx: np.ndarray, next_event: np.ndarray) -> ContextColumns:
    """Return the columns that can describe a request: 2 to MOST_VALUES values, the first MOST_COLUMNS.

    A column that the item decides, such as its category, is left out: a request would tell what is clicked next. One that
    changes within sessions, such as the kind of page that a link was on, is ``of_click``: nobody knows it before.

    Args:
        table: columns of the log (n,); item_idx (n,): the item of each event; next_event (n,): the row of what the same user
        does next in the same session, -1 where that is nothing.
    """
    chosen: dict[str, tuple[str, ...]] = {}
    of_click: list[str] = []
    left_out: list[str] = []
    for name in table.column_names:
        if name == VERSION_FIELD or not table.num_rows:
            continue
        texts = _texts(table[name])
        given = texts.is_valid().to_numpy(zero_copy_only=False)
        codes = texts.indices.fill_null(0).to_numpy()[given]
        counts = np.bincount(codes, minlength=len(texts.dictionary))
        if not 2 <= len(counts) <= MOST_VALUES or _item_decides(codes, item_idx[given]):
            continue
        if len(chosen) == MOST_COLUMNS:
            left_out.append(name)
        else:
            pairs = sorted(zip((-counts).tolist(), texts.dictionary.to_pylist(), strict=True))
            chosen[name] = tuple(value for _, value in pairs)
            if _click_decides(texts.indices.fill_null(-1).to_numpy(), next_event):
                of_click.append(name)
    return ContextColumns(chosen, tuple(of_click), tuple(left_out))


def _texts(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The values (n,) as text with one code each; a whole number is the same with and without ``.0`` behind it."""
    whole = pa.chunked_array([as_text(chunk) for chunk in column.chunks], pa.string()).combine_chunks().dictionary_encode()
    plain = pc.replace_substring_regex(whole.dictionary, r"^(-?[0-9]+)\.0$", r"\1").dictionary_encode()
    return pa.DictionaryArray.from_arrays(plain.indices.take(whole.indices), plain.dictionary)


def _item_decides(codes: np.ndarray, item_idx: np.ndarray) -> bool:
    """Whether knowing an event's item leaves next to nothing of what is not known about its code.

    By the share of events that have not their item's most frequent code, of items with two events or more, in the share
    that have not the most frequent code of all (Goodman and Kruskal 1954, lambda).
    """
    again = np.bincount(item_idx)[item_idx] > 1
    codes, item_idx = codes[again], item_idx[again]
    if not len(codes):
        return False
    width = int(codes.max()) + 1
    cells, counts = np.unique(item_idx.astype(np.int64) * width + codes, return_counts=True)
    best = np.zeros(int(item_idx.max()) + 1, np.int64)
    np.maximum.at(best, cells // width, counts)
    unlike_item, unlike_all = len(codes) - int(best.sum()), len(codes) - int(np.bincount(codes).max())
    return unlike_all >= _LEAST_TOLD and unlike_item <= _ITEM_DECIDES * unlike_all


def _click_decides(codes: np.ndarray, next_event: np.ndarray) -> bool:
    """Whether a column changes from one event to the next of a session, more than by moving or a second device."""
    going_on = np.flatnonzero(next_event >= 0)
    changes = int((codes[going_on] != codes[next_event[going_on]]).sum())
    return changes >= _LEAST_TOLD and changes > _CLICK_DECIDES * len(going_on)


class ContextCounts:
    """Decayed clicks per item in each context.

    Args:
        columns: how many columns the codes have; half_life_ms: of a click.
    """

    def __init__(self, columns: int, half_life_ms: int) -> None:
        self.columns = columns
        self._table = DecayedTable((half_life_ms,))

    def frozen(self, as_of_ms: int) -> "ContextCounts":
        """Return the counts as they stand at ``as_of_ms``; later slides do not change them."""
        frozen = copy.copy(self)
        frozen._table = self._table.frozen(as_of_ms)
        return frozen

    def observe(self, context: np.ndarray, item_idx: np.ndarray, event_time_ms: np.ndarray, as_of_ms: int) -> None:
        """Take in one slide's events: codes (n, columns), items (n,), times (n,)."""
        rows = _rows(context).ravel()
        items, times = np.repeat(item_idx, self.columns), np.repeat(event_time_ms, self.columns)
        self._table.add(rows, items, times, np.ones((1, len(rows))), as_of_ms)

    def table(self, context: np.ndarray, place: np.ndarray, prior: np.ndarray) -> "ContextTable":
        """Return how much likelier some items are in each context of some requests than anywhere.

        log((c + 20 p) / (total + 20) / p) / 2, of c clicks there out of their total.

        Args:
            context: codes (n, columns) of the requests; place: (num_items + 1,) where each item lies in the table, 0 in none;
            prior: (places,) p, the share of the item at each place in all events.
        """
        rows, inverse = np.unique(_rows(context), return_inverse=True)
        found = self._table.rows(rows)
        counts = np.zeros((len(rows), len(prior)), np.float32)
        row, known = np.repeat(np.arange(len(rows)), np.diff(found.starts)), found.items < len(place)
        counts[row[known], place[found.items[known]]] = found.values[0, known]
        totals = self._table.totals_of(rows)[0]
        share = (counts + _PRIOR * prior) / (totals[:, None] + _PRIOR)
        return ContextTable(inverse.reshape(context.shape).T.copy(), np.log(share / prior) / 2.0)


@dataclass(frozen=True)
class ContextTable:
    """Which ``contexts`` (columns, n) requests are in, and how much likelier items are there, ``lifts`` (contexts, places)."""

    contexts: np.ndarray
    lifts: np.ndarray

    def features(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return (columns, m) float32 of the items at ``places`` (m,), each for its request ``rows`` (m,)."""
        # One flat index is several times faster than two.
        starts = self.contexts * self.lifts.shape[1]
        return np.asarray(self.lifts.ravel()[starts[:, rows] + places])


def _rows(context: np.ndarray) -> np.ndarray:
    """The table's row of each code: (n, columns)."""
    return np.asarray((np.arange(context.shape[1]) << _CODE_BITS) + context)
