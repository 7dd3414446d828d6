"""User buckets: the shards of keyed state. A user is in one bucket for ever."""

import numpy as np
import pyarrow as pa

from dynmm_core.windows.hashes import EventHashes

BUCKETS = 16
BUCKET_KEYS = tuple(f"user-{bucket:02}" for bucket in range(BUCKETS))


def buckets_of(user_hashes: np.ndarray) -> np.ndarray:
    """The bucket (n,) uint8 of each user by its ``hash64`` (n,) uint64."""
    return (user_hashes % np.uint64(BUCKETS)).astype(np.uint8)


def split_by_bucket(events: pa.RecordBatch, hashes: EventHashes) -> list[tuple[int, pa.RecordBatch, EventHashes]]:
    """The events of each bucket that has some with their hashes, log order kept inside a bucket."""
    buckets = buckets_of(hashes.user)
    if len(buckets) == 1:
        return [(int(buckets[0]), events, hashes)]
    order = np.argsort(buckets, kind="stable")
    ordered, hashes = events.take(pa.array(order)), hashes[order]
    ends = np.cumsum(np.bincount(buckets, minlength=BUCKETS)).tolist()
    parts = zip(range(BUCKETS), [0, *ends], ends, strict=False)
    return [(bucket, ordered.slice(start, end - start), hashes[start:end]) for bucket, start, end in parts if end > start]
