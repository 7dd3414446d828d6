"""What one version serves, frozen: latents, user side, counters and the moment it stands for."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from dynmm_core.adapt.activity import FrozenActivity
from dynmm_core.baselines.window_popularity import PopularityRanking
from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.trainer import refreshed_items


@dataclass(frozen=True)
class Published:
    """A version as ranking sees it: a pure function of the base, the serving weights and the frozen activity.

    z, z_base (num_items + 1, latent_dim); adapter holds the averaged weights; newest_event_ms is the newest event
    inside; available_at_ms the first event time that may see it.
    """

    available_at_ms: int
    activity: FrozenActivity
    z: Tensor
    z_base: Tensor
    adapter: OnlineAdapter
    popularity: PopularityRanking
    newest_event_ms: int

    @property
    def num_items(self) -> int:
        """Items known to this version: 1 … num_items."""
        return len(self.z) - 1


@torch.no_grad()
def publish(
    base: FrozenBase, serving: OnlineAdapter, activity: FrozenActivity, newest_event_ms: int, publish_delay_ms: int
) -> Published:
    """Refresh every active item's latent with the serving weights and freeze the result."""
    num_items = len(activity.events) - 1
    e_cf, z_base = base.item_tables(num_items)
    rows = torch.from_numpy(activity.active).nonzero().squeeze(1).to(base.device)
    z = z_base.clone()
    s_item = torch.from_numpy(activity.summaries).to(base.device)[rows]
    every = torch.ones(len(rows), dtype=torch.bool, device=base.device)
    z[rows] = refreshed_items(serving, z_base[rows], e_cf[rows], s_item, every)
    adapter = copy.deepcopy(serving)
    popularity = PopularityRanking(activity.popularity)
    return Published(activity.as_of_ms + publish_delay_ms, activity, z, z_base, adapter, popularity, newest_event_ms)
