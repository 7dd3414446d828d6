"""What a bucket sends about a slide: chunks of Arrow, then an end marker with their number and hash."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from dynmm_core.events.wire import ARROW_END
from dynmm_core.windows.progress import ShardProgress

MAX_CHUNK_BYTES = 512 * 1024
ChunkKind = Literal["events", "items", "counts", "pairs"]


@dataclass(frozen=True)
class Chunk:
    """Part of one bucket's slide; ``payload`` is an Arrow IPC stream. Keyed (run, shard, slide_end_ms, index)."""

    run: str
    shard: str
    slide_end_ms: int
    index: int
    kind: ChunkKind
    payload: bytes

    def read(self) -> pa.Table:
        """The rows of this chunk."""
        with pa.ipc.open_stream(self.payload) as reader:
            return reader.read_all()


@dataclass(frozen=True)
class EndMarker:
    """This bucket's slide is complete: so many chunks, hashing to ``digest``, of so many events.

    ``closed_through_ms`` >= ``slide_end_ms``: no events lie between the two. A marker without chunks says only that.
    ``progress``: the bucket behind this slide, and where reading goes on behind ``closed_through_ms``; no part of the digest.
    """

    run: str
    shard: str
    slide_end_ms: int
    closed_through_ms: int
    chunks: int
    digest: str
    events: int
    duplicates: int
    progress: ShardProgress


@dataclass(frozen=True)
class ShardState:
    """State that a bucket carries behind a slide: kept under its hash, which the end marker behind it names."""

    run: str
    shard: str
    slide_end_ms: int
    digest: str
    payload: bytes


SlideMessage = Chunk | EndMarker


def pack(table: pa.Table, max_bytes: int = MAX_CHUNK_BYTES) -> Iterator[bytes]:
    """The rows as Arrow IPC streams of at most ``max_bytes`` each; a row that is larger is alone, without its nulls."""
    pieces = max(1, -(-table.nbytes // max_bytes))
    rows = max(1, -(-table.num_rows // pieces))
    for start in range(0, max(table.num_rows, 1), rows):
        piece = table.slice(start, rows)
        payload = _to_stream(piece)
        if len(payload) > max_bytes and piece.num_rows > 1:
            half = piece.num_rows // 2
            yield from pack(piece.slice(0, half), max_bytes)
            yield from pack(piece.slice(half), max_bytes)
        elif len(payload) > max_bytes:
            yield _to_stream(piece.select([name for name in piece.column_names if not piece[name].null_count]))
        else:
            yield payload


def hash_of(payload: bytes) -> bytes:
    """The hash of one chunk's payload."""
    return hashlib.sha256(payload).digest()


def digest_of(hashes: Iterable[bytes]) -> str:
    """The hash of a slide's chunks, from theirs in the order of their index."""
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def _to_stream(table: pa.Table) -> bytes:
    # What a stream writer writes, without its buffer that grows and is copied again and again.
    batches = table.combine_chunks().to_batches()
    return b"".join((table.schema.serialize(), *(batch.serialize() for batch in batches), ARROW_END))
