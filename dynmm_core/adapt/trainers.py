"""A fresh adapter for a base, ready to learn."""

from dynmm_core.model.adapter import OnlineAdapter
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.features import ITEM_SUMMARY_DIM, USER_SUMMARY_DIM
from dynmm_core.model.trainer import AdapterTrainer, OnlineSettings
from dynmm_core.randomness import torch_generator


def new_trainer(base: FrozenBase, settings: OnlineSettings, seed: int) -> AdapterTrainer:
    """Return a trainer whose adapter is drawn from ``seed`` and leaves every base latent as it is."""
    adapter = OnlineAdapter(base.hidden_dim, base.latent_dim, ITEM_SUMMARY_DIM, USER_SUMMARY_DIM)
    adapter.initialise(torch_generator(seed, 0, "adapter"))
    return AdapterTrainer(adapter.to(base.device), settings, seed)
