"""A small base, the events of a slide, and a trainer on it."""

import numpy as np
import torch
from torch import nn

from dynmm_core.adapt.trainers import new_learners
from dynmm_core.model.aligner import BaseAligner
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.examples import Examples, KeptEvents
from dynmm_core.model.features import ITEM_SUMMARY_DIM, USER_SUMMARY_DIM
from dynmm_core.model.losses import NegativeSampler
from dynmm_core.model.online import OnlineOptions, OnlineSettings
from dynmm_core.model.sasrec import SASRec
from dynmm_core.model.trainer import AdapterTrainer
from dynmm_core.randomness import torch_generator

CPU = torch.device("cpu")
ITEMS, WIDTH = 25, 16
PLAIN = {"guard": False, "replay_capacity": 0}
TEXT = torch.randn(21, 6, generator=torch.Generator().manual_seed(0))
LEARNING: dict[str, dict[str, object]] = {
    "default": {},
    "everything": {"ewc_weight": 1.0, "align_weight": 0.1, "recon_weight": 0.1, "share_adapter": True, "gate_bias": False},
    "bpr": {"ranking": "bpr", "ema_warmup": False, "weight_decay": 0.01},
}


class Two(nn.Module):
    """Two weights, 1 and 2."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(2.0))


def copied(module: nn.Module) -> dict[str, torch.Tensor]:
    """The weights as they are now."""
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def base(e_txt: torch.Tensor | None = None, device: torch.device = CPU) -> FrozenBase:
    model = SASRec(20, WIDTH, layers=1, heads=1, max_length=10, dropout=0.0)
    model.initialise(torch_generator(0, 0, "test"))
    aligner = BaseAligner(WIDTH, WIDTH)
    aligner.fit(model.item_embedding.weight.detach()[1:])
    return FrozenBase(model, aligner, device, e_txt)


def examples(frozen: FrozenBase, n: int = 40, seed: int = 5) -> Examples:
    generator, on = torch.Generator().manual_seed(seed), frozen.device
    e_cf, z_base = frozen.item_tables(ITEMS)
    r_u, s_user, s_item, positives = (
        torch.randn(n, WIDTH, generator=generator).to(on), torch.randn(n, USER_SUMMARY_DIM, generator=generator).to(on),
        torch.randn(ITEMS + 1, ITEM_SUMMARY_DIM, generator=generator).to(on), torch.randint(1, 4, (n,), generator=generator),
    )  # fmt: skip
    return Examples(
        h_base=frozen.aligner.align_users(r_u), r_u=r_u, s_user=s_user, z_base=z_base, e_cf=e_cf, s_item=s_item,
        active=torch.ones(ITEMS + 1, dtype=torch.bool, device=on), positives=positives,
        negatives=NegativeSampler(np.ones(ITEMS + 1)), e_txt=frozen.item_text(ITEMS),
    )  # fmt: skip


def trainer(frozen: FrozenBase, rate: float = 1e-2, weight: float = 1e-3, **options: object) -> AdapterTrainer:
    """The slides of these tests are a few events: they take the whole rate unless a test says otherwise."""
    settings = OnlineSettings.of(OnlineOptions.model_validate({"rate_by_share": False, **options}), rate, weight)
    return new_learners(frozen, settings, seed=1).adapter


def plain_state(learner: AdapterTrainer) -> dict[str, bytes]:
    """The state without the held-out events, which stay when an update goes back."""
    return {name: part for name, part in learner.to_bytes().items() if name != "held-out.safetensors"}


def full_loss(learner: AdapterTrainer, data: Examples) -> float:
    with torch.no_grad():
        h = learner.adapter.user(data.h_base, data.r_u, data.s_user)
        z = learner.adapter.item(data.z_base, data.e_cf, data.s_item)
        return float(nn.functional.cross_entropy(h @ z[1:].T, data.positives - 1))


def numbered(first: int, n: int) -> KeptEvents:
    """Events whose positives are their numbers."""
    numbers = torch.arange(first, first + n)
    wide = [torch.zeros(n, 2) for _ in range(6)]
    no = [torch.zeros(n, *shape, dtype=torch.bool) for shape in ((), (1,))]
    drawn, s_negative, log_q = torch.zeros(n, 1, dtype=torch.long), torch.zeros(n, 1, 1), torch.zeros(n, 1)
    return KeptEvents(*wide[:3], numbers, *wide[3:], no[0], drawn, s_negative, no[1], log_q)
