"""A version's rows: latents of items as the loop published them, of users as of its last slide, with their ids."""

from collections.abc import Sequence

import numpy as np

from dynmm_core.adapt.loop import AdaptLoop
from dynmm_core.store.version import LatentRows, id_column


def latent_rows(
    loop: AdaptLoop, items: np.ndarray, users: np.ndarray, item_ids: Sequence[str], user_ids: Sequence[str]
) -> LatentRows:  # fmt: skip
    """Return the rows of distinct ``items`` (m,) and ``users`` (n,), ids by index."""
    of_users = loop.user_latents(users)
    loop.lap("user states")
    ids = [item_ids[i] for i in items] + [user_ids[u] for u in users]
    kinds = np.array(["item"] * len(items) + ["user"] * len(users))
    return LatentRows(kinds, id_column(ids), np.concatenate([loop.published[-1].item_latents(items), of_users]))
