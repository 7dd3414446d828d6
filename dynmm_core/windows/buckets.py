"""User buckets: the shards of keyed state. A user is in one bucket for ever."""

import numpy as np
import pyarrow as pa

BUCKETS = 16
BUCKET_KEYS = tuple(f"user-{bucket:02}" for bucket in range(BUCKETS))


def buckets_of(user_hashes: np.ndarray) -> np.ndarray:
    """The bucket (n,) uint8 of each user by its ``hash64`` (n,) uint64."""
    return (user_hashes % np.uint64(BUCKETS)).astype(np.uint8)


def split_by_bucket(events: pa.RecordBatch, buckets: np.ndarray) -> list[tuple[int, pa.RecordBatch]]:
    """The events of each bucket that has some, log order kept inside a bucket; ``buckets`` (n,)."""
    if len(buckets) == 0:
        return []
    if len(buckets) == 1:
        return [(int(buckets[0]), events)]
    counts = np.bincount(buckets, minlength=BUCKETS)
    ends = np.cumsum(counts)
    ordered = events.take(pa.array(np.argsort(buckets, kind="stable")))
    return [(bucket, ordered.slice(ends[bucket] - counts[bucket], counts[bucket])) for bucket in range(BUCKETS) if counts[bucket]]
