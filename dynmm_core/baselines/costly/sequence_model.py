"""What fine-tuning and retraining share: a copy of the backbone that learns, with rows for new items, and its ranker."""

import copy
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dynmm_core.baselines.contract import Facts, Ranker, Requests, TriedModel
from dynmm_core.baselines.costly.training_rows import oldest_first
from dynmm_core.baselines.decayed_popularity import FadingClicks
from dynmm_core.evidence.recents import RecentItems, Recents
from dynmm_core.model.ranking import rank_targets
from dynmm_core.model.sasrec import PADDING, SASRec, encode_histories

FOLD_IN_ITEMS = 10


@dataclass(frozen=True)
class SequenceRanker:
    """A frozen backbone. A request whose history holds no item that the model knows is ranked by popularity.

    items (num_items + 1, hidden_dim + 1): item vectors, and in the last column decayed popularity.
    """

    model: SASRec
    items: Tensor

    def rank(self, requests: Requests) -> tuple[np.ndarray, np.ndarray]:
        """Return (better, ties) (n,) of each target; see :class:`Ranker`."""
        newest = requests.recents if requests.long_recents is None else requests.long_recents
        history, length = oldest_first(newest.items, self.model.num_items)
        start = np.maximum(length - self.model.max_length, 0)
        columns = np.minimum(start[:, None] + np.arange(self.model.max_length), history.shape[1] - 1)
        filled = np.minimum(length, self.model.max_length)
        history = np.where(np.arange(self.model.max_length) < filled[:, None], np.take_along_axis(history, columns, 1), 0)
        states = encode_histories(self.model, torch.from_numpy(history), torch.from_numpy(filled))
        users = torch.cat([states, torch.from_numpy(filled == 0)[:, None].float()], 1)
        return rank_targets(users, self.items, requests.targets, requests.consumed_rows, requests.consumed_items)


class SequenceModel(TriedModel):
    """A SASRec whose every weight may change; new items get a row at the end of their first slide.

    The row of a new item is the mean of the rows of what those who clicked it had clicked before, up to ten items each,
    or the mean of all rows where nobody had. Learns on the CPU.

    Args:
        backbone: copied; half_life_ms: of the clicks that rank where there is no history; seed: names every draw.
    """

    def __init__(self, backbone: SASRec, half_life_ms: int, seed: int) -> None:
        self.model = copy.deepcopy(backbone).cpu().eval().requires_grad_(True)
        self.seed = seed
        self.live = False
        self._recents = RecentItems(self.model.max_length)
        self._clicks = FadingClicks([half_life_ms])

    def begin(self, as_of_ms: int) -> None:
        """From here on slides are learned from; those before are what the backbone was trained on."""
        self.live = True

    def observe(self, facts: Facts) -> None:
        """Take in one complete slide."""
        before = self._recents.before(facts.user_idx, facts.item_idx, facts.event_time_ms, within=True)
        self._add_rows(facts, before)
        self.take_in(facts, before)
        self._recents.observe(facts.user_idx, facts.item_idx, facts.event_time_ms)
        self._clicks.observe(facts)

    @abstractmethod
    def take_in(self, facts: Facts, before: Recents) -> None:
        """Remember the slide, and learn from it where that is due; ``before``: the newest max_length items before each event."""

    def replace_table(self, old: nn.Embedding, new: nn.Embedding) -> None:
        """Be told that the table of item vectors has grown, old rows first."""

    def freeze_each(self, as_of_ms: int, num_items: int) -> list[Ranker]:
        """Return one ranker; there is one setting."""
        model = copy.deepcopy(self.model).requires_grad_(False)
        popularity = torch.from_numpy(self._clicks.values(num_items)[0]).float()
        vectors = model.item_embedding.weight[: num_items + 1]
        return [SequenceRanker(model, torch.cat([vectors, popularity[: len(vectors), None]], 1))]

    def _add_rows(self, facts: Facts, before: Recents) -> None:
        known, newest = self.model.num_items, int(facts.item_idx.max(initial=0))
        if newest <= known:
            return
        old = self.model.item_embedding
        rows = old.weight.detach()
        fresh = np.flatnonzero(facts.item_idx > known)
        near = before.items[fresh, :FOLD_IN_ITEMS]
        event, _ = found = np.nonzero((near > 0) & (near <= known))
        place = torch.from_numpy(facts.item_idx[fresh][event] - known - 1)
        sums = torch.zeros(newest - known, rows.shape[1]).index_add_(0, place, rows[torch.from_numpy(near[found])])
        counts = torch.bincount(place, minlength=newest - known)[:, None]
        # Row 0 is zero and no item.
        mean = rows.sum(0) / known
        table = nn.Embedding(newest + 1, rows.shape[1], padding_idx=PADDING)
        with torch.no_grad():
            table.weight[: known + 1] = rows
            table.weight[known + 1 :] = torch.where(counts > 0, sums / counts.clamp(min=1), mean)
        self.model.item_embedding = table
        self.replace_table(old, table)


def all_finite(model: nn.Module) -> bool:
    """Return whether no weight is NaN or infinite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
