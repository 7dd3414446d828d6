"""Exact ranks over the full catalogue, in blocks of fixed shape and bounded memory."""

import numpy as np
import torch
from torch import Tensor

from dynmm_core.model.devices import fetch, send

ROWS_PER_BLOCK = 64


@torch.inference_mode()
def rank_targets(
    users: Tensor, items: Tensor, targets: np.ndarray, consumed_rows: np.ndarray, consumed_items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (better, ties) of each target's score h·z among all items but the row's consumed ones.

    Args:
        users: (n, d) user latents; items: (num_items + 1, d) item latents, row 0 is padding and no candidate.
        targets: (n,) item indices; one beyond the table, or whose score is no number, gets better = -1; other scores that
            are none count as higher ones.
        consumed_rows, consumed_items: (m,) pairs (row, item that is no candidate there), without repeats; a target
            stays a candidate for its own row.
    """
    num_items = len(items) - 1
    known = (targets > 0) & (targets <= num_items)
    if not known.any():
        return np.full(len(targets), -1, np.int64), np.zeros(len(targets), np.int64)
    keep = (consumed_items <= num_items) & (consumed_items != targets[consumed_rows])
    rows, seen = consumed_rows[keep], consumed_items[keep]
    by_row = np.argsort(rows, kind="stable")
    rows, seen = rows[by_row], seen[by_row]
    edges = np.searchsorted(rows, np.arange(0, len(targets) + ROWS_PER_BLOCK, ROWS_PER_BLOCK))
    on = users.device
    column = send(torch.from_numpy(np.where(known, targets, 1) - 1), on)
    row, consumed = (send(torch.from_numpy(one), on) for one in (rows, seen - 1))
    above, equal = (torch.zeros(len(targets), dtype=torch.int32, device=on) for _ in range(2))
    number = torch.zeros(len(targets), dtype=torch.bool, device=on)
    candidates = items[1:].T
    buffer = torch.empty(ROWS_PER_BLOCK, num_items, device=on)
    for block, start in enumerate(range(0, len(targets), ROWS_PER_BLOCK)):
        stop = min(start + ROWS_PER_BLOCK, len(targets))
        padded = torch.zeros(ROWS_PER_BLOCK, users.shape[1], device=on)
        padded[: stop - start] = users[start:stop]
        torch.mm(padded, candidates, out=buffer)
        scores = buffer[: stop - start]
        own = scores.gather(1, column[start:stop, None])
        # int32 sums vectorise, the default int64 ones do not: five times slower, measured.
        above[start:stop] = num_items - (scores <= own).sum(1, dtype=torch.int32)
        equal[start:stop] = (scores == own).sum(1, dtype=torch.int32) - 1
        number[start:stop] = ~own[:, 0].isnan()
        cut = slice(edges[block], edges[block + 1])
        masked, mine = scores[row[cut] - start, consumed[cut]], own[row[cut] - start, 0]
        above.index_add_(0, row[cut], (~(masked <= mine)).int(), alpha=-1)
        equal.index_add_(0, row[cut], (masked == mine).int(), alpha=-1)
    found = fetch({"above": above, "equal": equal, "number": number})
    ranked = known & found["number"].numpy()
    better, ties = (found[name].numpy().astype(np.int64) for name in ("above", "equal"))
    return np.where(ranked, better, -1), np.where(ranked, ties, 0)
