"""Pre-training: backbone on the events before the cut, choices on their tail, one bundle."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from dynmm_core.adapt.baseline_tuning import TunedBaselines
from dynmm_core.adapt.catalogue import IdMap
from dynmm_core.adapt.costly_tuning import COSTLY_TRIALS, tune_costly
from dynmm_core.adapt.histories import Histories
from dynmm_core.adapt.tail import Tail
from dynmm_core.adapt.tuning import TRIALS, tune
from dynmm_core.console import progress
from dynmm_core.datasets.item_text import read_item_texts
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.evidence.context import MOST_COLUMNS, ContextColumns, choose_context
from dynmm_core.metrics.ranking import METRICS, expected_metrics
from dynmm_core.model.aligner import BaseAligner
from dynmm_core.model.base import FrozenBase
from dynmm_core.model.bundle import BackboneShape, Bundle, Choices, CutState, new_backbone, save_bundle
from dynmm_core.model.devices import make_repeatable, open_device
from dynmm_core.model.features import SESSION_GAP_MS
from dynmm_core.model.pretraining import BackboneTrainer, Sequences, TrainingSettings
from dynmm_core.model.ranking import rank_targets
from dynmm_core.model.sasrec import SASRec, encode_histories
from dynmm_core.model.text_encoder import TEXT_DIM, encode_texts
from dynmm_core.randomness import torch_generator

_log = logging.getLogger(__name__)
VALIDATION_EVENTS = 2_000
PATIENCE = 2
MIN_EVENTS = 1_000


class PretrainSettings(BaseModel):
    """What pre-training may be told; everything else it chooses.

    profile: ``paper`` (h = 256, 2 layers, 50 items) or ``demo`` (small and quick); threads: CPU threads, part of what
    makes two runs equal; context: let columns of the log, such as region, describe a request, unless the item decides them;
    costly: tune the costly models; text: encode what the table of items says, as a second modality.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Literal["paper", "demo"] = "paper"
    seed: int = Field(0, ge=0, lt=2**31)
    threads: int = Field(2, ge=1, le=1_024)
    device: str = "cpu"
    context: bool = True
    costly: bool = False
    text: bool = False


@dataclass(frozen=True)
class Profile:
    """Shape of the backbone and its training budget: the head is seen ``events_seen`` times over, within the epochs."""

    shape: BackboneShape
    training: TrainingSettings
    max_epochs: int
    events_seen: int

    def epochs(self, events: int) -> int:
        """Most passes over a log of this many events; at least two."""
        return int(np.clip(self.events_seen // max(events, 1), 2, self.max_epochs))


PROFILES = {
    "paper": Profile(
        BackboneShape(hidden_dim=256, latent_dim=256, layers=2, heads=2, max_length=50, dropout=0.2),
        TrainingSettings(learning_rate=1e-3, tokens_per_batch=2_400),
        max_epochs=16,
        events_seen=4_000_000,
    ),
    "demo": Profile(
        BackboneShape(hidden_dim=64, latent_dim=64, layers=1, heads=1, max_length=20, dropout=0.1),
        TrainingSettings(learning_rate=2e-3, tokens_per_batch=2_400),
        max_epochs=8,
        events_seen=600_000,
    ),
}


def pretrain(log: PreparedLog, out: Path, settings: PretrainSettings) -> Bundle:
    """Train, choose and write a bundle to ``out``.

    First a base is trained without the tail: its best epoch on the tail sets the number of passes, and everything
    that depends on data is chosen with it. Then the same base learns on, tail included, for a quarter of those
    passes with a falling rate; that one is frozen into the bundle.

    Raises:
        UserError: ``out`` exists, or the log has too few events before its cut.
    """
    if out.exists():
        raise UserError(f"--out: {out} exists; name a folder that does not, or remove it first")
    if log.cut_row < MIN_EVENTS:
        raise UserError(
            f"rows: {log.name} has {log.cut_row} events before the cut; pre-training needs at least {MIN_EVENTS}:"
            " prepare a longer log"
        )
    make_repeatable(settings.threads)
    device = open_device(settings.device)
    profile = PROFILES[settings.profile]
    cut, context = read_cut(log, settings.context)
    e_txt = text_vectors(log, cut.item_ids) if settings.text else None
    newest_ms = int(cut.event_time_ms[-1])
    tail = Tail.of(cut)
    if tail.row < MIN_EVENTS // 2:
        raise UserError(
            f"timestamp: the last tenth before the cut of {log.name} shares its time with all but {tail.row} events;"
            " pre-training needs times that tell events apart"
        )
    model, epochs, trials = _train_head(cut, tail, profile, settings.seed, device)
    with progress("choosing on the tail", TRIALS) as bar:
        tuned = tune(cut, tail, frozen(model, profile.shape, device), settings.seed, bar.advance)
    costly = _tuned_costly(cut, tail, model, tuned.choices, settings)
    model = _train_whole(model, cut, profile, max(1, round(epochs / 4)), settings.seed, device)
    facts: dict[str, Any] = {
        "dataset": log.name,
        "dataset_fingerprint": log.fingerprint,
        "history_fingerprint": log.history_fingerprint(),
        "cut_row": log.cut_row,
        "cut_time_ms": newest_ms + 1,
        "newest_event_ms": newest_ms,
        "seed": settings.seed,
        "shape": profile.shape.model_dump(),
        "choices": tuned.choices.model_dump(),
        "context": {name: list(values) for name, values in context.values.items()},
        "context_of_click": list(context.of_click),
    }
    if settings.costly:
        facts["costly"] = costly.settings
    base = frozen(model, profile.shape, device)
    every_trial = trials + tuned.trials + costly.trials
    return save_bundle(out, base.backbone.cpu(), base.aligner.cpu(), cut, facts, every_trial, tuned.head, e_txt)


def _tuned_costly(cut: CutState, tail: Tail, model: SASRec, choices: Choices, settings: PretrainSettings) -> TunedBaselines:
    if not settings.costly:
        return TunedBaselines({}, [])
    half_life_ms = choices.baselines["decayed_popularity"]["half_life_ms"]
    with progress("choosing for the costly models", COSTLY_TRIALS) as bar:
        return tune_costly(cut, tail, model, half_life_ms, settings.seed, bar.advance)


def read_cut(log: PreparedLog, with_context: bool = False) -> tuple[CutState, ContextColumns]:
    """Read every event before the cut in indices; ``with_context``: and those further columns of the log that can be context."""
    further = log.extra_columns if with_context else ()
    table = log.read(["user_id", "item_id", "event_time_ms", *further], 0, log.cut_row)
    times = table["event_time_ms"].to_numpy()
    users, items = IdMap(), IdMap()
    user_idx, item_idx = users.add_in_order(table["user_id"], times), items.add_in_order(table["item_id"], times)
    context = choose_context(table.select(further), item_idx, _next_in_session(user_idx, times))
    if context.left_out:
        _log.warning(
            "context: %s left out, for %d columns at most describe a request; order extra_columns in dataset.toml to choose",
            ", ".join(context.left_out), MOST_COLUMNS,
        )  # fmt: skip
    codes, of_click = context.encode(table), context.places_of_click
    return CutState(items.ids[1:], users.ids[1:], user_idx, item_idx, times, codes, of_click), context


def _next_in_session(user_idx: np.ndarray, event_time_ms: np.ndarray) -> np.ndarray:
    """Return the row (n,) of what each event's user does next in the same session, -1 where that is nothing."""
    order = np.argsort(user_idx, kind="stable")
    goes_on = (np.diff(user_idx[order]) == 0) & (np.diff(event_time_ms[order]) <= SESSION_GAP_MS)
    following = np.full(len(order), -1, np.int64)
    following[order[:-1][goes_on]] = order[1:][goes_on]
    return following


def text_vectors(log: PreparedLog, item_ids: list[str]) -> torch.Tensor:
    """Return e_txt (n + 1, text_dim) of these items, rows of zeros for padding and for items without words.

    Raises:
        UserError: the log has no table of items with words.
    """
    try:
        texts = read_item_texts(log, item_ids)
    except ValueError as error:
        raise UserError(f"--text: {error}; leave --text out") from error
    return torch.from_numpy(np.vstack([np.zeros((1, TEXT_DIM), np.float32), encode_texts(texts)]))


def frozen(model: SASRec, shape: BackboneShape, device: torch.device) -> FrozenBase:
    """Fit the aligner on the backbone's items and freeze both."""
    aligner = BaseAligner(shape.hidden_dim, shape.latent_dim)
    aligner.fit(model.item_embedding.weight.detach()[1:].cpu())
    return FrozenBase(model, aligner, device)


def _train_head(
    cut: CutState, tail: Tail, profile: Profile, seed: int, device: torch.device
) -> tuple[SASRec, int, list[dict[str, Any]]]:
    """Train without the tail until it stops helping there; return the model, its best epoch and the trials."""
    model = new_backbone(profile.shape, tail.items)
    model.initialise(torch_generator(seed, 0, "backbone"))
    sequences = Sequences.from_events(cut.user_idx[: tail.row], cut.item_idx[: tail.row])
    trainer = BackboneTrainer(model.to(device), sequences, profile.training, seed)
    validate = _Validation(cut, tail, profile.shape.max_length)
    best, best_epoch, best_weights, trials = -1.0, 0, model.state_dict(), []
    limit = profile.epochs(tail.row)
    with progress("training the base without the tail", limit * tail.row) as bar:
        for epoch in range(1, limit + 1):
            loss = trainer.run_epoch(epoch, lambda _: 1.0, bar.advance)
            value = validate(model)
            trials.append({"epoch": epoch, "loss": loss, "ndcg@10": value})
            if value > best:
                best, best_epoch = value, epoch
                best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            elif epoch - best_epoch >= PATIENCE:
                break
    model.load_state_dict(best_weights)
    return model, best_epoch, trials


def _train_whole(model: SASRec, cut: CutState, profile: Profile, epochs: int, seed: int, device: torch.device) -> SASRec:
    """Go on with every event before the cut, the rate falling to a twentieth."""
    model = model.cpu().requires_grad_(True)
    model.grow(len(cut.item_ids), torch_generator(seed, 1, "backbone"))
    sequences = Sequences.from_events(cut.user_idx, cut.item_idx)
    trainer = BackboneTrainer(model.to(device), sequences, profile.training, seed)
    with progress("training the base on all events before the cut", epochs * len(cut.item_idx)) as bar:
        for number in range(epochs):

            def falling(part: float, done: int = number) -> float:
                return 1.0 - 0.95 * (done + part) / epochs

            trainer.run_epoch(1_000 + number, falling, bar.advance)
    return model


class _Validation:
    """NDCG@10 of the backbone on evenly spaced events of the tail, consumed items excluded."""

    def __init__(self, cut: CutState, tail: Tail, max_length: int) -> None:
        histories = Histories(tail.items, max_length)
        histories.observe(cut.user_idx[: tail.row], cut.item_idx[: tail.row], cut.event_time_ms[: tail.row])
        events = (cut.user_idx[tail.row :], cut.item_idx[tail.row :], cut.event_time_ms[tail.row :])
        view = histories.view(*events, within=True)
        self._rows = np.unique(np.linspace(0, len(events[0]) - 1, VALIDATION_EVENTS).astype(np.int64))
        chosen = np.isin(view.consumed_rows, self._rows)
        self._consumed_rows = np.searchsorted(self._rows, view.consumed_rows[chosen])
        self._consumed_items = view.consumed_items[chosen]
        self._recent, self._length = view.recent[self._rows], view.recent_length[self._rows]
        self._targets = events[1][self._rows]

    def __call__(self, model: SASRec) -> float:
        model.eval()
        states = encode_histories(model, torch.from_numpy(self._recent), torch.from_numpy(self._length))
        items = model.item_embedding.weight.detach()
        ranks = rank_targets(states, items, self._targets, self._consumed_rows, self._consumed_items)
        return float(expected_metrics(*ranks)[:, METRICS.index("ndcg@10")].mean())
