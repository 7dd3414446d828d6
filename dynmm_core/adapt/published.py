"""What one version serves, frozen: latents, user side, counters and the moment it stands for."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynmm_core.adapt.activity import FrozenActivity
from dynmm_core.adapt.laps import Lap, no_lap
from dynmm_core.adapt.scoring import ServingScore
from dynmm_core.adapt.stream_state import StreamState
from dynmm_core.adapt.trainers import Learners
from dynmm_core.baselines.contract import Ranker
from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.devices import send
from dynmm_core.model.patched import PatchedRows

ROWS_PER_BLOCK = 65_536  # of the refresh


@dataclass(frozen=True)
class Published:
    """A version as ranking sees it: a pure function of the base, the serving weights and the frozen activity.

    z, z_base (num_items + 1, latent_dim), z_base as the base alone has it, z with the rows of active and folded-in items
    replaced; adapter holds the averaged weights; score ranks, rankers are the simple models; newest_event_ms is the newest
    event inside; available_at_ms the first event time that may see it.
    """

    available_at_ms: int
    activity: FrozenActivity
    z: PatchedRows
    z_base: Tensor
    adapter: OnlineAdapter
    score: ServingScore
    rankers: dict[str, Ranker]
    newest_event_ms: int

    @property
    def num_items(self) -> int:
        """Items known to this version: 1 … num_items."""
        return len(self.z) - 1

    def item_latents(self, items: np.ndarray) -> np.ndarray:
        """Return z (m, latent_dim) float32 of ``items`` (m,)."""
        return np.asarray(self.z[torch.from_numpy(items)].cpu().numpy())


@torch.no_grad()
def refreshed(serving: OnlineAdapter, z_base: Tensor, e_cf: Tensor, rows: Tensor, s_item: Tensor) -> Tensor:
    """Return z (m, latent_dim) of items ``rows`` (m,) with summaries ``s_item`` (m, s), in blocks of bounded memory."""
    z = torch.empty(len(rows), z_base.shape[1], device=z_base.device)
    parts = (torch.split(one, ROWS_PER_BLOCK) for one in (z, rows, s_item))
    for out, some, s in zip(*parts, strict=True):
        out.copy_(serving.item(z_base[some], e_cf[some], s))
    return z


@torch.no_grad()
def publish(
    base: FrozenBase,
    items: tuple[Tensor, Tensor],
    learners: Learners,
    activity: FrozenActivity,
    state: StreamState,
    newest_event_ms: int,
    publish_delay_ms: int,
    lap: Lap = no_lap,
) -> Published:
    """Freeze what was counted, and refresh every active item's latent with the serving weights.

    Args:
        items: (e_cf, z_base) that Eq. 1 starts from, by item, new ones folded in; nobody writes into them any more.
    """
    serving, num_items, at_ms = learners.adapter.serving, len(activity.events) - 1, activity.as_of_ms
    rankers, sessions = state.freeze_models(at_ms, num_items), state.frozen_sessions(at_ms, num_items)
    pairs, following = state.pairs.frozen(at_ms), state.following.frozen(at_ms)
    context, openings = state.context.frozen(at_ms), state.openings.frozen(at_ms)
    lap("features")
    e_cf, folded = items
    rows, s_item = (send(torch.from_numpy(one), base.device) for one in (activity.rows, activity.summaries))
    z = PatchedRows(folded, rows, refreshed(serving, folded, e_cf, rows, s_item))
    _, z_base = base.item_tables(num_items)
    adapter = copy.deepcopy(serving)
    head = copy.deepcopy(learners.head.serving)
    score = ServingScore(activity.counts, pairs, following, context, openings, sessions, z, head)
    return Published(at_ms + publish_delay_ms, activity, z, z_base, adapter, score, rankers, newest_event_ms)
