"""Item pairs of each user's sequence: integer sums per (previous item, item), and the newest items that users carry on.

An item is named by its ``hash64``, a user by his. Weights are fixed-point, 65536 to the one, so that sums are exact and do not
depend on how events are spread over buckets. Pairs are counted forwards only: a reader that wants the way back turns them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dynmm_core.windows.codes import Coded
from dynmm_core.windows.order import stable_order
from dynmm_core.windows.pair_sums import pair_table, run_ends, sum_runs
from dynmm_core.windows.tails import UserTails

WEIGHT_ONE = 65_536
_BLOCK_ROWS = 1 << 14  # work in blocks stays in the processor's cache, and asks for no fresh memory
_LAGS = ("rule_lags", "co_click_lags")


def _none(kind: np.dtype) -> int:
    """The number that stands for no item."""
    return int(np.iinfo(kind).max)


def _narrow(places: np.ndarray, items: int) -> np.ndarray:
    """Places (n,) among so many items in as few bytes as leave a number for none."""
    return places.astype(np.uint16 if items < 1 << 16 else np.uint32)


def _lag_column(lag: int) -> str:
    return f"lag_{lag}"


@dataclass(frozen=True)
class PairSettings:
    """How many places back in a user's sequence, and over less than which gap, an item counts as previous.

    The rule weighs lag k with 1/k, co-click with 1/(1 + .15(k - 1)). The rule's reach lies within that of co-click.
    """

    rule_lags: int = 2
    rule_gap_ms: int = 3_600_000
    co_click_lags: int = 10
    co_click_gap_ms: int = 86_400_000

    def __post_init__(self) -> None:
        if not 1 <= self.rule_lags <= self.co_click_lags <= 255:
            raise ValueError(f"rule_lags, co_click_lags: {self.rule_lags}, {self.co_click_lags} must rise from 1 to 255 at most")
        if not 1 <= self.rule_gap_ms <= self.co_click_gap_ms:
            raise ValueError(f"rule_gap_ms, co_click_gap_ms: {self.rule_gap_ms}, {self.co_click_gap_ms} must rise from 1")

    @property
    def kind_bits(self) -> int:
        """Bits that hold the kind of a pair: lag - 1, or behind all of these the same again where the rule counts it too."""
        return (self.co_click_lags + self.rule_lags - 1).bit_length()

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """By kind (kinds,) int64: what a pair adds to ``rule``, and what to ``co_click``."""
        rule = [round(WEIGHT_ONE / lag) for lag in range(1, self.rule_lags + 1)]
        co_click = [round(WEIGHT_ONE / (1 + 0.15 * (lag - 1))) for lag in range(1, self.co_click_lags + 1)]
        return np.array([0] * self.co_click_lags + rule, np.int64), np.array(co_click + co_click[: self.rule_lags], np.int64)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs as they are sent: a row for each event, with its item and the items before it that make a pair with it.

    ``item`` (n,) and ``previous`` (lags, n) are places in ``items`` (d,) uint64, hashes in rising order, in 16 bits where that
    holds them; the highest number stands for no pair. ``rule`` (n,) uint8: how many of the nearest lags the rule reaches.
    """

    items: np.ndarray
    item: np.ndarray
    previous: np.ndarray
    rule: np.ndarray
    settings: PairSettings

    def __len__(self) -> int:
        return int(np.count_nonzero(self.previous != _none(self.previous.dtype)))

    def to_codes(self) -> pa.Table:
        """The numbers as they are sent, a column for each lag, with the settings that they were found by."""
        lags = {name: str(getattr(self.settings, name)).encode() for name in _LAGS}
        columns = {"item": self.item, "rule": self.rule, **{_lag_column(lag): row for lag, row in enumerate(self.previous, 1)}}
        return pa.table({name: pa.array(column) for name, column in columns.items()}).replace_schema_metadata(lags)

    @classmethod
    def from_codes(cls, items: np.ndarray, table: pa.Table) -> "Pairs":
        """Read what :meth:`to_codes` wrote, or any rows of it."""
        settings = PairSettings(**{name: int(table.schema.metadata[name.encode()]) for name in _LAGS})
        previous = np.stack([table[_lag_column(lag)].to_numpy() for lag in range(1, settings.co_click_lags + 1)])
        return cls(items, table["item"].to_numpy(), previous, table["rule"].to_numpy(), settings)

    def to_table(self) -> pa.Table:
        """Each pair once with its summed weights, by (previous_item, item): a table of ``PAIR_SCHEMA``."""
        return _sum_keys(np.sort(self._keys()), self.items, self.settings)

    def _keys(self) -> np.ndarray:
        """Every pair as one integer (m,): previous item, item, kind, from the highest bit down; uint32 where that holds them."""
        item_bits, kind_bits = len(self.items).bit_length(), self.settings.kind_bits
        wide = np.dtype(np.uint32 if 2 * item_bits + kind_bits <= 32 else np.int64)
        item = self.item.astype(wide) << wide.type(kind_bits)
        keys = [np.zeros(0, wide)]
        for lag, previous in enumerate(self.previous, 1):
            rows = np.flatnonzero(previous != _none(previous.dtype))
            kind = (lag - 1) + self.settings.co_click_lags * (self.rule[rows] >= lag)
            keys.append((previous[rows].astype(wide) << wide.type(item_bits + kind_bits)) | item[rows] | kind.astype(wide))
        return np.concatenate(keys)


@dataclass(frozen=True)
class _Sequences:
    """Users' sequences one behind the other: rows (n,) by user, then order of time; codes are places among sorted hashes."""

    users: np.ndarray
    items: np.ndarray
    user: np.ndarray
    item: np.ndarray
    time_ms: np.ndarray
    is_new: np.ndarray


def find_pairs(
    tails: UserTails, users: Coded, items: Coded, event_time_ms: np.ndarray, slide_end_ms: int, settings: PairSettings
) -> tuple[Pairs, UserTails]:  # fmt: skip
    """Find the pairs that a slide's events complete; return them and the tails behind the slide.

    The k-th previous item of an event is the k-th one before it in its user's sequence, whatever its age; it counts if less than
    the gap of time lies between the two. An item is no pair with itself, but takes up its place in the sequence.

    Args:
        users, items: the users and items of the tails' entries, then of the bucket's events, coded together.
        event_time_ms: that of the bucket's events (n,), in rising order, none before the tails.
        slide_end_ms: exclusive; no later event lies before it, so that entries out of its reach are dropped.
    """
    rows = _in_sequence(tails, users, items, event_time_ms)
    new = np.flatnonzero(rows.is_new)
    begins = np.flatnonzero(np.concatenate(([True], rows.user[1:] != rows.user[:-1]))[: len(rows.user)])
    depth = np.minimum(new - begins[rows.user[new]], settings.co_click_lags)
    reach = _within(rows.time_ms, new, depth, settings.co_click_gap_ms)
    item = _narrow(rows.item, len(rows.items))
    own, none = item[new], _none(item.dtype)
    previous = np.empty((settings.co_click_lags, len(new)), item.dtype)
    for lag, column in enumerate(previous, 1):
        item.take(new - lag, mode="clip", out=column)
        column[(reach < lag) | (column == own)] = none
    rule = _within(rows.time_ms, new, np.minimum(depth, settings.rule_lags), settings.rule_gap_ms)
    return Pairs(rows.items, own, previous, rule, settings), _newest(rows, slide_end_ms, settings)


def _in_sequence(tails: UserTails, users: Coded, items: Coded, event_time_ms: np.ndarray) -> _Sequences:
    order = stable_order(users.codes)
    time_ms = np.concatenate((tails.event_time_ms, event_time_ms))[order]
    is_new = order >= len(tails.item_hash)
    return _Sequences(users.distinct, items.distinct, users.codes[order], items.codes[order], time_ms, is_new)


def _within(time_ms: np.ndarray, rows: np.ndarray, depth: np.ndarray, gap_ms: int) -> np.ndarray:
    """How many (m,) uint8 of the ``depth`` (m,) places before each of the rows (m,) lie less than the gap before it."""
    within = depth.astype(np.uint8)
    # Times rise: where the far end lies within the gap, all do.
    far = np.flatnonzero(time_ms[rows] - time_ms[rows - depth] >= gap_ms)
    within[far] = 0
    lag = 1
    while len(far):
        far = far[time_ms[rows[far]] - time_ms[rows[far] - lag] < gap_ms]
        within[far] = lag
        lag += 1
    return within


def _sum_keys(keys: np.ndarray, items: np.ndarray, settings: PairSettings) -> pa.Table:
    item_bits, kind_bits = len(items).bit_length(), settings.kind_bits
    weights = settings.weights()
    columns = np.empty((4, len(keys)), np.int64)  # what is not written takes no memory
    start = size = 0
    while start < len(keys):
        end_of_run = int(keys[min(start + _BLOCK_ROWS, len(keys)) - 1]) | ((1 << kind_bits) - 1)
        block = keys[start : start + int(np.searchsorted(keys[start:], keys.dtype.type(end_of_run), side="right"))].astype(
            np.int64
        )
        ends = run_ends(block, kind_bits)
        cells = block[ends] >> kind_bits
        out = columns[:, size : size + len(ends)]
        out[0] = items.take(cells >> item_bits, mode="clip").view(np.int64)
        out[1] = items.take(cells & ((1 << item_bits) - 1), mode="clip").view(np.int64)
        out[2], out[3] = _sum_kinds(block & ((1 << kind_bits) - 1), ends, *weights)
        start, size = start + len(block), size + len(ends)
    previous_item, item = columns[:2, :size].view(np.uint64)
    return pair_table(previous_item, item, *columns[2:, :size])


def _sum_kinds(kinds: np.ndarray, ends: np.ndarray, rule: np.ndarray, co_click: np.ndarray) -> Sequence[np.ndarray]:
    """Both weights of the kinds (n,), summed over runs that end at ``ends``."""
    if len(kinds) * WEIGHT_ONE >= 1 << 32:
        return [sum_runs(weights.take(kinds, mode="clip"), ends) for weights in (rule, co_click)]
    both = (rule << 32 | co_click).view(np.uint64)  # neither sum of a run outgrows its half
    sums = sum_runs(both.take(kinds, mode="clip"), ends)
    return sums >> np.uint64(32), sums & np.uint64(0xFFFF_FFFF)


def _newest(rows: _Sequences, slide_end_ms: int, settings: PairSettings) -> UserTails:
    keep = rows.time_ms > slide_end_ms - settings.co_click_gap_ms
    lags = settings.co_click_lags
    keep[:-lags] &= rows.user[:-lags] != rows.user[lags:]
    lengths = np.bincount(rows.user[keep], minlength=len(rows.users))
    has_some = lengths > 0
    item_hash = rows.items[rows.item[keep]]
    return UserTails(rows.users[has_some], lengths[has_some].astype(np.uint8), item_hash, rows.time_ms[keep])
