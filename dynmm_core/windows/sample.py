"""A sample of a slide's events that does not depend on their order."""

import numpy as np
import pyarrow as pa

from dynmm_core.events.hashing import hash64

_BUCKET_SHARE, _LEAST_SHARE = 8, 64


def bucket_share(most: int | None) -> int | None:
    """How many events one bucket ships where a slide's sample has ``most``: an eighth, 64 at least; None for all.

    The sample is then that of the whole slide, unless one bucket holds more than an eighth of it: no bucket is heard more.
    """
    return None if most is None else min(most, max(_LEAST_SHARE, -(-most // _BUCKET_SHARE)))


def sample_events(events: pa.Table, most: int | None) -> pa.Table:
    """The ``most`` events whose ids have the smallest ``hash64`` (bottom-k), in the order given; all of them if None.

    The sample of a whole is the sample of its parts' samples taken together.
    """
    chosen = smallest(hash64(events["event_id"]), most) if most is not None and events.num_rows > most else None
    return events if chosen is None else events.take(pa.array(chosen))


def smallest(hashes: np.ndarray, most: int | None) -> np.ndarray | None:
    """The rows (most,), rising, of the smallest of the hashes (n,), of equal ones the first; None for all rows."""
    if most is None or len(hashes) <= most:
        return None
    limit = np.partition(hashes, most - 1)[most - 1]
    below = hashes < limit
    ties = np.flatnonzero(hashes == limit)[: most - np.count_nonzero(below)]
    below[ties] = True
    return np.flatnonzero(below)
