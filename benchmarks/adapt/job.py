"""The loop on a random frozen base, fed with the synthetic stream: what is measured, as replay and live flow run it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.adapt.inputs import StreamShape, draw_stream
from dynmm_core.adapt.loop import AdaptLoop
from dynmm_core.adapt.loop_settings import LoopSettings
from dynmm_core.adapt.rows import latent_rows
from dynmm_core.adapt.slide_events import SlideEvents
from dynmm_core.adapt.stream_state import new_state, state_at
from dynmm_core.adapt.tail import slides
from dynmm_core.adapt.trainers import new_learners
from dynmm_core.model.aligner import BaseAligner
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.bundle import Choices
from dynmm_core.model.features import DECAY_STEPS
from dynmm_core.model.sasrec import SASRec
from dynmm_core.model.trainer import OnlineSettings
from dynmm_core.randomness import derive_seed, torch_generator
from dynmm_core.store.latents import LatentStore
from dynmm_core.store.state import StateFiles
from dynmm_core.store.version import Draft, Version
from dynmm_core.times import HOUR_MS

LAYERS, HEADS, MAX_LENGTH = 2, 2, 50
_BASELINES = {
    "window_popularity": {"window_ms": HOUR_MS},
    "decayed_popularity": {"half_life_ms": HOUR_MS},
    "sequential_rule": {"half_life_ms": 2 * HOUR_MS},
    "session_knn": {"half_life_ms": HOUR_MS},
}
MODELS = ("static", *_BASELINES, "adapted_latents", "adapted")


@dataclass(frozen=True)
class Case:
    """One size: the stream's shape, width of the latents, the models that rank, the device."""

    shape: StreamShape
    latent_dim: int
    models: tuple[str, ...]
    device: torch.device


class Ids(Sequence[str]):
    """The id of every index, made when it is asked for: ten million texts would be the largest thing in memory."""

    def __init__(self, kind: str, size: int) -> None:
        self._kind, self._size = kind, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        """Return one id."""
        return f"{self._kind}-{index:09}"


def random_base(items: int, latent_dim: int, device: torch.device, seed: int) -> FrozenBase:
    """Return a frozen base of random weights; the item table is drawn where it will lie."""
    backbone = SASRec(1, latent_dim, LAYERS, HEADS, MAX_LENGTH, 0.0)
    backbone.initialise(torch_generator(seed, 0, "adapt-bench"))
    random = torch.Generator(device).manual_seed(derive_seed(seed, items, "adapt-bench-items"))
    table = torch.empty(items + 1, latent_dim, device=device).normal_(0.0, latent_dim**-0.5, generator=random)
    table[0] = 0.0
    backbone.item_embedding = nn.Embedding(0, latent_dim)  # a table of the real size, drawn but once
    backbone.item_embedding.num_embeddings = items + 1
    backbone.item_embedding.weight = nn.Parameter(table, requires_grad=False)
    return FrozenBase(backbone, BaseAligner(latent_dim, latent_dim), device)


def new_loop(case: Case, seed: int) -> tuple[AdaptLoop, list[SlideEvents]]:
    """Return the loop at the cut, and the slides behind it."""
    shape = case.shape
    log, cut_row = draw_stream(shape, seed)
    base = random_base(shape.items, case.latent_dim, case.device, seed)
    half_lives = tuple(HOUR_MS * step for step in DECAY_STEPS)
    choices = Choices(
        half_lives_ms=half_lives, adapter_lr=1e-3, stability_weight=1e-3, pair_half_life_ms=HOUR_MS, baselines=_BASELINES
    )
    online = OnlineSettings(learning_rate=choices.adapter_lr, stability_weight=choices.stability_weight)
    simple = {name: settings for name, settings in _BASELINES.items() if name in case.models}
    start_ms = int(log.event_time_ms[cut_row]) // HOUR_MS * HOUR_MS
    state = state_at(log, cut_row, start_ms, new_state(shape.items, MAX_LENGTH, choices, log.context.shape[1], simple))
    settings = LoopSettings(
        models=case.models, history="event", publish_delay_ms=0, rank_from_ms=None, rank_to_ms=None, keep_consumed=False,
        summaries=True, base_users=shape.users, base_items=shape.items, base_newest_ms=int(log.event_time_ms[cut_row - 1]),
    )  # fmt: skip
    learners = new_learners(base, online, seed, log.context.shape[1])
    return AdaptLoop(base, learners, state, start_ms, shape.items, settings), list(slides(log, cut_row, HOUR_MS))


class Committer:
    """Commits what the loop published, as the engine does: trainer state first, then the version, whose rows are not kept."""

    def __init__(self, loop: AdaptLoop, case: Case, folder: Path) -> None:
        self._loop = loop
        self._ids = (Ids("item", case.shape.items + 1), Ids("user", case.shape.users + 1))
        self._states = StateFiles(folder / "state")
        self._store = LatentStore.create_or_open(folder, case.latent_dim)
        self._head: Version | None = None
        self._active = loop.activity.active

    def commit(self, slide: SlideEvents) -> int:
        """Commit one slide's version and return its number of rows."""
        before, self._active = self._active, self._loop.activity.active
        rows = latent_rows(self._loop, np.flatnonzero(self._active | before), np.unique(slide.user_idx), *self._ids)
        state = self._states.put(self._loop.learners.to_bytes())
        draft = Draft("bench", slide.slide_end_ms, "", "", state, rows, keep_rows=False)
        self._head = self._store.commit(draft, self._head)
        self._loop.lap("commit")
        return len(rows.ids)
