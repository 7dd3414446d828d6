"""The versioned latent store: atomic, fenced, idempotent commits that any Delta Lake reader can open. No torch here."""

from dynmm_core.store.latents import LatentStore
from dynmm_core.store.lineage import Rollback
from dynmm_core.store.state import StateFiles
from dynmm_core.store.version import Draft, LatentRows, Version

__all__ = ["Draft", "LatentRows", "LatentStore", "Rollback", "StateFiles", "Version"]
