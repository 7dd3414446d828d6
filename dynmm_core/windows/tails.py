"""The newest items of every user: what a bucket carries from slide to slide to complete pairs."""

from dataclasses import dataclass

import numpy as np
import orjson

_TAILS_VERSION = 1
_TAIL_COLUMNS = (("user_hash", "<u8"), ("lengths", "u1"), ("item_hash", "<u8"), ("event_time_ms", "<i8"))


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
