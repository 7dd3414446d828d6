"""Item pairs of each user's sequence: integer sums per (previous item, item), and the newest items that users carry on.

An item is named by its ``hash64``, a user by his. Weights are fixed-point, 65536 to the one, so that sums are exact and do not
depend on how events are spread over buckets. Pairs are counted forwards only: a reader that wants the way back turns them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from dynmm_core.events.hashing import hash64
from dynmm_core.windows.order import stable_order

WEIGHT_ONE = 65_536
PAIR_SCHEMA = pa.schema([("previous_item", pa.uint64()), ("item", pa.uint64()), ("rule", pa.int64()), ("co_click", pa.int64())])
_TAILS_VERSION = 1
_TAIL_COLUMNS = (("user_hash", "<u8"), ("lengths", "u1"), ("item_hash", "<u8"), ("event_time_ms", "<i8"))
_BLOCK_ROWS = 1 << 14  # work in blocks stays in the processor's cache, and asks for no fresh memory
_FAR_MS = 1 << 62  # no event lies this near to another one


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
class PairCounts:
    """Each pair once, by (previous_item, item): hashes (n,) uint64, sums of fixed-point weights (n,) int64."""

    previous_item: np.ndarray
    item: np.ndarray
    rule: np.ndarray
    co_click: np.ndarray

    def to_table(self) -> pa.Table:
        """The columns as Arrow, without a copy."""
        return pa.Table.from_arrays([pa.array(getattr(self, name)) for name in PAIR_SCHEMA.names], schema=PAIR_SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> "PairCounts":
        """Read a table of ``PAIR_SCHEMA``."""
        return cls(*(table[name].to_numpy() for name in PAIR_SCHEMA.names))


@dataclass(frozen=True, eq=False)
class UserTails:
    """Each user's newest items, oldest first: users (u,) uint64 in rising order, their entries one after the other (m,).

    ``lengths`` (u,) uint8 says how many entries a user has, at least one; ``event_time_ms`` is int64.
    """

    user_hash: np.ndarray
    lengths: np.ndarray
    item_hash: np.ndarray
    event_time_ms: np.ndarray

    @classmethod
    def empty(cls) -> "UserTails":
        """Nobody has clicked yet."""
        return cls(*(np.zeros(0, kind) for _, kind in _TAIL_COLUMNS))

    def to_bytes(self) -> bytes:
        """A line of JSON, then the columns as they lie: 9 bytes per user and 16 per entry, 169 for a user with ten.

        Equal states give equal bytes.
        """
        header = {"entries": len(self.item_hash), "users": len(self.user_hash), "version": _TAILS_VERSION}
        columns = [getattr(self, name).astype(kind, copy=False).tobytes() for name, kind in _TAIL_COLUMNS]
        return b"".join([orjson.dumps(header), b"\n", *columns])

    @classmethod
    def from_bytes(cls, payload: bytes) -> "UserTails":
        """Read what :meth:`to_bytes` wrote.

        Raises:
            ValueError: another version, or not whole.
        """
        line, _, body = payload.partition(b"\n")
        header = orjson.loads(line)
        if header["version"] != _TAILS_VERSION:
            raise ValueError(f"version: users' newest items were written as version {header['version']}, not {_TAILS_VERSION}")
        sizes = [header["users"], header["users"], header["entries"], header["entries"]]
        ends = np.cumsum([size * np.dtype(kind).itemsize for size, (_, kind) in zip(sizes, _TAIL_COLUMNS, strict=True)])
        if len(body) != ends[-1]:
            raise ValueError(f"users' newest items: {len(body)} bytes behind the header instead of {ends[-1]}")
        starts = [0, *ends[:-1].tolist()]
        columns = zip(_TAIL_COLUMNS, sizes, starts, strict=True)
        return cls(*(np.frombuffer(body, kind, size, start).astype(kind) for (_, kind), size, start in columns))


@dataclass(frozen=True)
class _Sequences:
    """Users' sequences one behind the other: rows (n,) by user, then canonical order; codes are places among sorted hashes."""

    users: np.ndarray
    items: np.ndarray
    user: np.ndarray
    item: np.ndarray
    time_ms: np.ndarray
    is_new: np.ndarray


def hash_repeated(ids: pa.ChunkedArray) -> np.ndarray:
    """The ``hash64`` (n,) uint64 of ids that mostly come more than once, such as users and items: each one hashed once."""
    encoded = ids.combine_chunks().dictionary_encode()
    return np.asarray(hash64(encoded.dictionary)[encoded.indices.to_numpy()])


def count_pairs(
    tails: UserTails, user_hash: np.ndarray, item_hash: np.ndarray, event_time_ms: np.ndarray, slide_end_ms: int,
    settings: PairSettings,
) -> tuple[PairCounts, UserTails]:  # fmt: skip
    """Count the pairs that a slide's events complete; return them and the tails behind the slide.

    The k-th previous item of an event is the k-th one before it in its user's sequence, whatever its age; it counts if less than
    the gap of time lies between the two. An item is no pair with itself, but takes up its place in the sequence.

    Args:
        user_hash, item_hash, event_time_ms: the bucket's events (n,) in canonical order, none before the tails.
        slide_end_ms: exclusive; no later event lies before it, so that entries out of its reach are dropped.
    """
    rows = _in_sequence(tails, user_hash, item_hash, event_time_ms)
    return _sum_keys(_pair_keys(rows, settings), rows.items, settings), _newest(rows, slide_end_ms, settings)


def merge_pairs(parts: Sequence[pa.Table]) -> pa.Table:
    """Sum tables of ``PAIR_SCHEMA``, of several buckets or slides: exact, in any order and grouping.

    Each part lies by (previous_item, item), as :meth:`PairCounts.to_table` and this function return it, or a slice of it.

    Raises:
        ValueError: a part is not in order.
    """
    columns = [[table[name].to_numpy() for name in PAIR_SCHEMA.names] for table in parts if table.num_rows]
    if any((previous[1:] < previous[:-1]).any() for previous, *_ in columns):
        raise ValueError("previous_item: a part to be merged is not in order")
    if not columns:
        return PAIR_SCHEMA.empty_table()
    bounds = _block_bounds([previous for previous, *_ in columns])
    cuts = [[*np.searchsorted(previous, bounds).tolist(), len(previous)] for previous, *_ in columns]
    merged = []
    for block in range(len(bounds)):
        slices = [(part, slice(*cut[block : block + 2])) for part, cut in zip(columns, cuts, strict=True)]
        inside = [[column[rows] for column in part] for part, rows in slices if rows.stop > rows.start]
        merged.append(_merge_block([np.concatenate(column) for column in zip(*inside, strict=True)]))
    return PairCounts(*(np.concatenate(column) for column in zip(*merged, strict=True))).to_table()


def _block_bounds(previous: Sequence[np.ndarray]) -> np.ndarray:
    """Where blocks of previous items begin that hold some ``_BLOCK_ROWS`` rows each; the first one has something."""
    longest = max(previous, key=len)
    step = max(1, _BLOCK_ROWS * len(longest) // sum(map(len, previous)))
    bounds = np.unique(longest[::step])
    bounds[0] = min(part[0] for part in previous)
    return bounds


def _merge_block(columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Columns of ``PAIR_SCHEMA`` (n,) in any order, with each pair once and in order."""
    previous_item, item, *weights = columns
    order = _pair_order(previous_item, item)
    previous_item, item = previous_item[order], item[order]
    is_last = np.ones(len(order), bool)
    is_last[:-1] = (item[1:] != item[:-1]) | (previous_item[1:] != previous_item[:-1])
    ends = np.flatnonzero(is_last)
    return [previous_item[ends], item[ends], *(_sum_runs(column[order], ends) for column in weights)]


def _pair_order(previous_item: np.ndarray, item: np.ndarray) -> np.ndarray:
    """The rows (n,) by (previous_item, item): from as many leading bits of the hash as one integer holds, mostly enough."""
    run_ends = _run_ends(previous_item, 0)
    distinct, run = _codes(previous_item[run_ends])
    row_bits = len(item).bit_length()
    kept_bits = 63 - row_bits - len(distinct).bit_length()
    packed = np.repeat(run, np.diff(run_ends, prepend=-1)) << kept_bits
    packed |= (item >> np.uint64(64 - kept_bits)).view(np.int64)
    packed <<= row_bits
    packed |= np.arange(len(item))
    packed.sort()
    order: np.ndarray = packed & ((1 << row_bits) - 1)
    alike = (packed[1:] ^ packed[:-1]) < 1 << row_bits
    if (alike & (item[order[1:]] != item[order[:-1]])).any():
        return np.lexsort((item, previous_item))
    return order


def _in_sequence(tails: UserTails, user_hash: np.ndarray, item_hash: np.ndarray, event_time_ms: np.ndarray) -> _Sequences:
    users, user = _codes(np.concatenate((np.repeat(tails.user_hash, tails.lengths), user_hash)))
    items, item = _codes(np.concatenate((tails.item_hash, item_hash)))
    order = stable_order(user)
    time_ms = np.concatenate((tails.event_time_ms, event_time_ms))[order]
    return _Sequences(users, items, user[order], item[order], time_ms, order >= len(tails.item_hash))


def _pair_keys(rows: _Sequences, settings: PairSettings) -> np.ndarray:
    """Every pair with its kind as one integer (m,): previous item, item, kind, from the highest bit down."""
    if not rows.is_new.any():
        return np.zeros(0, np.int64)
    second = rows.item << settings.kind_bits
    first = second << len(rows.items).bit_length()
    # Users are laid so far apart in time that one comparison tells both: the same user, and within the gap.
    floor_ms = rows.time_ms[rows.is_new].min() - settings.co_click_gap_ms
    since_ms = np.maximum(rows.time_ms - floor_ms, 0)
    stamp = rows.user * (int(since_ms.max()) + settings.co_click_gap_ms) + since_ms
    stamp_if_new = np.where(rows.is_new, stamp, _FAR_MS)
    found = np.empty(settings.co_click_lags * int(np.count_nonzero(rows.is_new)), np.int64)
    stop = 0
    for start in range(0, len(second), _BLOCK_ROWS):
        for lag in range(1, settings.co_click_lags + 1):
            low, high = max(start, lag), min(start + _BLOCK_ROWS, len(second))
            if low >= high:
                break  # no row of this block has so many before it
            here, before = slice(low, high), slice(low - lag, high - lag)
            gap_ms = stamp_if_new[here] - stamp[before]
            counts = gap_ms < settings.co_click_gap_ms
            counts &= second[here] != second[before]
            keys = first[before] + second[here]
            keys += lag - 1
            if lag <= settings.rule_lags:
                keys += (gap_ms < settings.rule_gap_ms) * settings.co_click_lags
            begin, stop = stop, stop + int(np.count_nonzero(counts))
            np.compress(counts, keys, out=found[begin:stop])
    return found[:stop]


def _sum_keys(keys: np.ndarray, items: np.ndarray, settings: PairSettings) -> PairCounts:
    item_bits, kind_bits = len(items).bit_length(), settings.kind_bits
    weights = settings.weights()
    keys.sort()
    columns = np.empty((4, len(keys)), np.int64)  # what is not written takes no memory
    start = size = 0
    while start < len(keys):
        end_of_run = (keys[min(start + _BLOCK_ROWS, len(keys)) - 1] | ((1 << kind_bits) - 1)) + 1
        block = keys[start : start + int(np.searchsorted(keys[start:], end_of_run))]
        ends = _run_ends(block, kind_bits)
        cells = block[ends] >> kind_bits
        out = columns[:, size : size + len(ends)]
        out[0] = items.take(cells >> item_bits, mode="clip").view(np.int64)
        out[1] = items.take(cells & ((1 << item_bits) - 1), mode="clip").view(np.int64)
        out[2], out[3] = _sum_kinds(block & ((1 << kind_bits) - 1), ends, *weights)
        start, size = start + len(block), size + len(ends)
    previous_item, item = columns[:2, :size].view(np.uint64)
    return PairCounts(previous_item, item, *columns[2:, :size])


def _sum_kinds(kinds: np.ndarray, ends: np.ndarray, rule: np.ndarray, co_click: np.ndarray) -> Sequence[np.ndarray]:
    """Both weights of the kinds (n,), summed over runs that end at ``ends``."""
    if len(kinds) * WEIGHT_ONE >= 1 << 32:
        return [_sum_runs(weights.take(kinds, mode="clip"), ends) for weights in (rule, co_click)]
    both = (rule << 32 | co_click).view(np.uint64)  # neither sum of a run outgrows its half
    sums = _sum_runs(both.take(kinds, mode="clip"), ends)
    return sums >> np.uint64(32), sums & np.uint64(0xFFFF_FFFF)


def _newest(rows: _Sequences, slide_end_ms: int, settings: PairSettings) -> UserTails:
    keep = rows.time_ms > slide_end_ms - settings.co_click_gap_ms
    lags = settings.co_click_lags
    keep[:-lags] &= rows.user[:-lags] != rows.user[lags:]
    lengths = np.bincount(rows.user[keep], minlength=len(rows.users))
    has_some = lengths > 0
    item_hash = rows.items[rows.item[keep]]
    return UserTails(rows.users[has_some], lengths[has_some].astype(np.uint8), item_hash, rows.time_ms[keep])


def _codes(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct hashes in rising order, and for each one (n,) the place of its own among them (n,) int64."""
    encoded = pa.array(hashes).dictionary_encode()
    distinct = encoded.dictionary.to_numpy()
    order = np.argsort(distinct)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return distinct[order], places[encoded.indices.to_numpy()]


def _run_ends(ordered: np.ndarray, low_bits: int) -> np.ndarray:
    """The last place of each run of values (n,) that are equal but for their low bits."""
    is_last = np.ones(len(ordered), bool)
    np.greater_equal(ordered[1:] ^ ordered[:-1], 1 << low_bits, out=is_last[:-1])
    return np.flatnonzero(is_last)


def _sum_runs(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The sum of the values (n,) of each run that ends at ``ends`` (m,); correct also where the running total overflows."""
    sums: np.ndarray = np.cumsum(values)[ends]
    sums[1:] -= sums[:-1].copy()
    return sums
