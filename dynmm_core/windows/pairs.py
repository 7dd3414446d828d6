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
    """Pairs as they were found, an integer (m,) each, uint32 where that holds them: previous item, item, kind, high bits first.

    Items are places in ``items`` (d,) uint64, hashes in rising order. A pair that comes again comes again here: that is less to
    send than sums are, and as much to know; who reads them sums.
    """

    items: np.ndarray
    keys: np.ndarray
    settings: PairSettings

    def to_codes(self) -> pa.Table:
        """The integers as they are sent, with the lags that their kinds stand for."""
        lags = {name: str(getattr(self.settings, name)).encode() for name in _LAGS}
        return pa.table([pa.array(self.keys)], ["pair"]).replace_schema_metadata(lags)

    @classmethod
    def from_codes(cls, items: np.ndarray, table: pa.Table) -> "Pairs":
        """Read what :meth:`to_codes` wrote, or any rows of it."""
        lags = {name: int(table.schema.metadata[name.encode()]) for name in _LAGS}
        return cls(items, table["pair"].to_numpy(), PairSettings(**lags))

    def to_table(self) -> pa.Table:
        """Each pair once with its summed weights, by (previous_item, item): a table of ``PAIR_SCHEMA``."""
        return _sum_keys(np.sort(self.keys), self.items, self.settings)


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
    return Pairs(rows.items, _pair_keys(rows, settings), settings), _newest(rows, slide_end_ms, settings)


def _in_sequence(tails: UserTails, users: Coded, items: Coded, event_time_ms: np.ndarray) -> _Sequences:
    order = stable_order(users.codes)
    time_ms = np.concatenate((tails.event_time_ms, event_time_ms))[order]
    is_new = order >= len(tails.item_hash)
    return _Sequences(users.distinct, items.distinct, users.codes[order], items.codes[order], time_ms, is_new)


def _pair_keys(rows: _Sequences, settings: PairSettings) -> np.ndarray:
    """Every pair with its kind as one integer (m,): previous item, item, kind, from the highest bit down."""
    item_bits = len(rows.items).bit_length()
    kind = np.dtype(np.uint32 if 2 * item_bits + settings.kind_bits <= 32 else np.int64)  # half the bytes to send
    if not rows.is_new.any():
        return np.zeros(0, kind)
    second = (rows.item << settings.kind_bits).astype(kind)
    first = second << kind.type(item_bits)
    depth = _depth(rows)
    since_ms = _since(rows, settings)
    found = np.empty(settings.co_click_lags * int(np.count_nonzero(rows.is_new)), kind)
    stop = 0
    for start in range(0, len(second), _BLOCK_ROWS):
        for lag in range(1, settings.co_click_lags + 1):
            low, high = max(start, lag), min(start + _BLOCK_ROWS, len(second))
            if low >= high:
                break  # no row of this block has so many before it
            here, before = slice(low, high), slice(low - lag, high - lag)
            gap_ms = since_ms[here] - since_ms[before]
            counts = gap_ms < settings.co_click_gap_ms
            counts &= depth[here] >= lag
            counts &= second[here] != second[before]
            keys = first[before] + second[here]
            keys += kind.type(lag - 1)
            if lag <= settings.rule_lags:
                keys += (gap_ms < settings.rule_gap_ms) * kind.type(settings.co_click_lags)
            begin, stop = stop, stop + int(np.count_nonzero(counts))
            np.compress(counts, keys, out=found[begin:stop])
    return found[:stop]


def _depth(rows: _Sequences) -> np.ndarray:
    """How many rows of the same user lie before each row (n,), 255 at most; 0 for those that make no pairs with what was."""
    places = np.arange(len(rows.user))
    begins = np.flatnonzero(np.r_[True, rows.user[1:] != rows.user[:-1]])
    depth = np.minimum(places - np.repeat(begins, np.diff(begins, append=len(places))), 255).astype(np.uint8)
    depth[~rows.is_new] = 0
    return depth


def _since(rows: _Sequences, settings: PairSettings) -> np.ndarray:
    """Times (n,) in ms since the earliest that a pair may reach; what lies before it has 0. In 32 bits where these are enough."""
    floor_ms = rows.time_ms[rows.is_new].min() - settings.co_click_gap_ms
    since_ms = np.maximum(rows.time_ms - floor_ms, 0)
    found: np.ndarray = since_ms.astype(np.int32) if int(since_ms.max()) < 1 << 31 else since_ms
    return found


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
