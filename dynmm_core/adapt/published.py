"""What one version serves, frozen: latents, user side, counters and the moment it stands for."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from dynmm_core.adapt.activity import FrozenActivity
from dynmm_core.adapt.scoring import ServingScore
from dynmm_core.adapt.stream_state import StreamState
from dynmm_core.adapt.trainers import Learners
from dynmm_core.baselines.contract import Ranker
from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.examples import refreshed_items


@dataclass(frozen=True)
class Published:
    """A version as ranking sees it: a pure function of the base, the serving weights and the frozen activity.

    z, z_base (num_items + 1, latent_dim), z_base as the base alone has it; adapter holds the averaged weights; score
    ranks, rankers are the simple models;
    newest_event_ms is the newest event inside; available_at_ms the first event time that may see it.
    """

    available_at_ms: int
    activity: FrozenActivity
    z: Tensor
    z_base: Tensor
    adapter: OnlineAdapter
    score: ServingScore
    rankers: dict[str, Ranker]
    newest_event_ms: int

    @property
    def num_items(self) -> int:
        """Items known to this version: 1 … num_items."""
        return len(self.z) - 1


@torch.no_grad()
def publish(
    base: FrozenBase,
    items: tuple[Tensor, Tensor],
    learners: Learners,
    activity: FrozenActivity,
    state: StreamState,
    newest_event_ms: int,
    publish_delay_ms: int,
) -> Published:
    """Refresh every active item's latent with the serving weights and freeze the result.

    Args:
        items: (e_cf, z_base) that Eq. 1 starts from, by item, new ones folded in.
    """
    serving = learners.adapter.serving
    num_items = len(activity.events) - 1
    e_cf, folded = items
    rows = torch.from_numpy(activity.active).nonzero().squeeze(1).to(base.device)
    z = folded.clone()
    s_item = torch.from_numpy(activity.summaries).to(base.device)[rows]
    every = torch.ones(len(rows), dtype=torch.bool, device=base.device)
    z[rows] = refreshed_items(serving, folded[rows], e_cf[rows], s_item, every)
    _, z_base = base.item_tables(num_items)
    adapter = copy.deepcopy(serving)
    rankers = state.freeze_models(activity.as_of_ms, num_items)
    score = ServingScore(
        activity.counts,
        state.pairs.frozen(activity.as_of_ms),
        state.context.frozen(activity.as_of_ms),
        state.frozen_sessions(activity.as_of_ms, num_items),
        z,
        copy.deepcopy(learners.head.serving),
    )
    return Published(activity.as_of_ms + publish_delay_ms, activity, z, z_base, adapter, score, rankers, newest_event_ms)
