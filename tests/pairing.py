"""Pairs of events given as plain arrays."""

import numpy as np

from dynmm_core.windows.codes import encode
from dynmm_core.windows.pairs import Pairs, PairSettings, find_pairs
from dynmm_core.windows.tails import UserTails


def pairs_of(
    tails: UserTails, users: np.ndarray, items: np.ndarray, event_time_ms: np.ndarray, slide_end_ms: int, settings: PairSettings
) -> tuple[Pairs, UserTails]:
    """Find the pairs of events (n,) by hash of user and item, as a bucket does; sent and read again in between."""
    coded_users = encode(np.concatenate((np.repeat(tails.user_hash, tails.lengths), users)))
    coded_items = encode(np.concatenate((tails.item_hash, items)))
    found, behind = find_pairs(tails, coded_users, coded_items, event_time_ms, slide_end_ms, settings)
    return Pairs.from_codes(found.items, found.to_codes()), behind
