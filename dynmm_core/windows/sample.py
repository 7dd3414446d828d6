"""A sample of a slide's events that does not depend on their order or on how they are spread over buckets."""

import numpy as np
import pyarrow as pa

from dynmm_core.events.hashing import hash64


def sample_events(events: pa.Table, most: int | None) -> pa.Table:
    """The ``most`` events whose ids have the smallest ``hash64`` (bottom-k), in the order given; all of them if None.

    The sample of a whole is the sample of its parts' samples taken together.
    """
    if most is None or events.num_rows <= most:
        return events
    hashes = hash64(events["event_id"])
    chosen = np.argsort(hashes, kind="stable")[:most]
    return events.take(pa.array(np.sort(chosen)))
