"""A tiny stream of ten thousand events, its prepared log and a bundle for it: small enough to replay in a second or two."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dynmm_core.adapt.baseline_tuning import GRIDS
from dynmm_core.adapt.pretrain import frozen, read_cut, text_vectors
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.model.bundle import BackboneShape, new_backbone, save_bundle
from dynmm_core.model.features import DECAY_STEPS
from dynmm_core.model.pretraining import BackboneTrainer, Sequences, TrainingSettings
from dynmm_core.randomness import torch_generator
from simulators.settings import StreamSettings
from simulators.stream import draw_stream
from simulators.world import make_world

HOUR_MS = 3_600_000
EVENTS, WINDOWS = 10_000, 12
SETTINGS = StreamSettings(events=EVENTS, users=400, items=300, online_hours=WINDOWS)
COSTLY = {
    "fine_tune": {"learning_rate": 1e-2, "rehearsed": 1, "half_life_ms": HOUR_MS},
    "periodic_retrain": {"days": 30, "epochs": 3, "half_life_ms": HOUR_MS},
    "lightgcn": {"days": 1, "learning_rate": 1e-2, "half_life_ms": HOUR_MS},
}
SHAPE = BackboneShape(hidden_dim=16, latent_dim=16, layers=1, heads=1, max_length=10, dropout=0.1)


def tiny_events(seed: int = 0) -> dict[str, np.ndarray]:
    """Return (EVENTS,) times in order, users and items of a simulated stream with its two drifts."""
    stream = draw_stream(make_world(SETTINGS.model_copy(update={"seed": seed})))
    return {"timestamp": stream.event_time_ms, "user_id": stream.user, "item_id": stream.item}


def poisoned(events: dict[str, np.ndarray], from_ms: int) -> dict[str, np.ndarray]:
    """Return the events with every user and item from ``from_ms`` on replaced, known and new ones alike; times stay."""
    rng = np.random.default_rng(99)
    future = events["timestamp"] >= from_ms
    changed = {name: column.copy() for name, column in events.items()}
    changed["user_id"][future] = rng.integers(0, 2 * SETTINGS.users, future.sum())
    changed["item_id"][future] = rng.integers(0, 20, future.sum()) * rng.choice([1, 17, 50], future.sum())
    return changed


def prepare_tiny(folder: Path, events: dict[str, np.ndarray]) -> PreparedLog:
    """Write the events as a user would have them, and prepare them."""
    (folder / "raw").mkdir(parents=True)
    columns = {
        "user_id": [f"u{user}" for user in events["user_id"]],
        "item_id": [f"i{item}" for item in events["item_id"]],
        "timestamp": events["timestamp"],
    }
    pq.write_table(pa.table(columns), folder / "raw" / "interactions.parquet")
    prepare_folder(folder / "raw", folder / "data", Options(name="tiny"))
    return PreparedLog.open(folder / "data")


def bundle_tiny(
    log: PreparedLog, out: Path, epochs: int = 2, with_context: bool = False, costly: bool = False, with_text: bool = False
) -> None:
    """Train a tiny base for a few passes and bundle it with fixed choices, as pre-training would after many trials."""
    torch.set_num_threads(1)
    cut, context = read_cut(log, with_context)
    newest_ms = int(cut.event_time_ms[-1])
    model = new_backbone(SHAPE, len(cut.item_ids))
    model.initialise(torch_generator(0, 0, "backbone"))
    sequences = Sequences.from_events(cut.user_idx, cut.item_idx)
    trainer = BackboneTrainer(model, sequences, TrainingSettings(learning_rate=5e-3), 0)
    for epoch in range(1, epochs + 1):
        trainer.run_epoch(epoch, lambda _: 1.0, lambda _: None)
    choices = {
        "half_lives_ms": tuple(HOUR_MS * step for step in DECAY_STEPS),
        "adapter_lr": 1e-2,
        "stability_weight": 1e-3,
        "pair_half_life_ms": 3_600_000,
        "baselines": {name: grid[0] for name, grid in GRIDS.items()} | {"window_popularity": {"window_ms": HOUR_MS}},
    }
    facts = {
        "dataset": log.name,
        "dataset_fingerprint": log.fingerprint,
        "history_fingerprint": log.history_fingerprint(),
        "cut_row": log.cut_row,
        "cut_time_ms": newest_ms + 1,
        "newest_event_ms": newest_ms,
        "seed": 0,
        "shape": SHAPE.model_dump(),
        "choices": choices,
        "context": {name: list(values) for name, values in context.values.items()},
    }
    if costly:
        facts["costly"] = COSTLY
    base = frozen(model, SHAPE, torch.device("cpu"))
    e_txt = text_vectors(log, cut.item_ids) if with_text else None
    save_bundle(out, base.backbone, base.aligner, cut, facts, [], e_txt=e_txt)
