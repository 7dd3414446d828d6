"""How the adapter learns online: what a protocol file may say, and what that resolves to with the bundle's choices."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Ranking = Literal["softmax", "bpr"]


class OnlineOptions(BaseModel):
    """Options of online learning, the ``[replay.online]`` table of a protocol file; weights and rates without unit.

    The step: ranking is L_rank; a slide is learned from whole, in batches of batch_size, or larger ones where that would
    take more than max_steps; negatives are drawn per batch; the gradient is clipped to clip_norm. rate_by_share: a batch of
    fewer than batch_size events has that share of the rate, so that what an event teaches does not hang on how thin slides are.

    The sum of Eq. 3: stability_weight λ_s (None: the bundle's choice), align_weight λ_m, recon_weight λ_r; ewc_weight
    λ_ewc of Eq. 2, ewc_decay of the running Fisher. projector_lr: rate of what maps a second modality.

    Memory: replay_capacity events in the reservoir (0: none), of which replay_share per new event are rehearsed;
    kept_negatives with each. ema_warmup: the average's memory grows with the updates instead of being ema_decay at once.

    The guard: a tenth of each slide, held_out_events at most, is held out; max_step_rms bounds the root mean square
    change of a weight in one slide. fold_in: an item that the base does not know gets a base latent from its events.
    share_adapter: one g_Δ for items and users; gate_bias: a bias in the gates, which start nearly closed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ranking: Ranking = "softmax"
    batch_size: int = Field(default=256, ge=1)
    max_steps: int = Field(default=16, ge=1)
    rate_by_share: bool = True
    negatives: int = Field(default=512, ge=1)
    clip_norm: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    stability_weight: float | None = Field(default=None, ge=0)
    ewc_weight: float = Field(default=0.0, ge=0)
    ewc_decay: float = Field(default=0.9, ge=0, le=1)
    align_weight: float = Field(default=0.0, ge=0)
    recon_weight: float = Field(default=0.0, ge=0)
    projector_lr: float = Field(default=5e-4, ge=0)
    replay_capacity: int = Field(default=1_024, ge=0)
    replay_share: float = Field(default=1.0, ge=0)
    kept_negatives: int = Field(default=8, ge=1)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    ema_warmup: bool = True
    guard: bool = True
    held_out_events: int = Field(default=200, ge=2)
    max_step_rms: float = Field(default=0.5, gt=0)
    fold_in: bool = False
    share_adapter: bool = False
    gate_bias: bool = True


class OnlineSettings(OnlineOptions):
    """The options with learning_rate, which is chosen on the pre-training tail, and stability_weight settled."""

    learning_rate: float = Field(ge=0)
    stability_weight: float = Field(ge=0)

    @classmethod
    def of(cls, options: OnlineOptions, learning_rate: float, stability_weight: float) -> "OnlineSettings":
        """Complete ``options``; what they say themselves goes before ``stability_weight``."""
        given = options.model_dump()
        if given["stability_weight"] is None:
            given["stability_weight"] = stability_weight
        return cls(**given, learning_rate=learning_rate)
