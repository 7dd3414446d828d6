"""RePlay's SASRec on a leave-one-out split: its model, loss, optimiser and Lightning module; windows and lists are ours."""

import json
import sys

import lightning
import numpy as np
import torch
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.sequential import SasRec
from torch.utils.data import DataLoader

ITEM = "item_id"
ROWS_PER_BLOCK = 256


class Windows(lightning.LightningDataModule):
    """Training windows, cut anew each epoch: they overlap by one event, so that each event but the first is a target once."""

    def __init__(self, sequences, length, rows, padding, seed):
        super().__init__()
        self.sequences, self.length, self.rows, self.padding = sequences, length, rows, padding
        self.rng = np.random.default_rng(seed)

    def train_dataloader(self):
        windows = [window for one in self.sequences for window in self._cut(one)]
        order = self.rng.permutation(len(windows))
        return DataLoader([windows[k] for k in order], batch_size=self.rows, collate_fn=self._collate)

    def _cut(self, sequence):
        if len(sequence) <= self.length + 1:
            return [sequence] if len(sequence) > 1 else []
        first = int(self.rng.integers(1, self.length + 1))
        ends = [*range(first, len(sequence) - 1, self.length), len(sequence) - 1]
        return [sequence[start : end + 1] for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def _collate(self, windows):
        inputs = pad([window[:-1] for window in windows], self.length, self.padding)
        labels = pad([window[1:] for window in windows], self.length, self.padding)
        real = inputs != self.padding
        return {
            "feature_tensors": {ITEM: inputs},
            "padding_mask": real,
            "positive_labels": labels.unsqueeze(-1),
            "target_padding_mask": real.unsqueeze(-1),
        }


class Validation(lightning.Callback):
    """NDCG@10 behind every epoch; keeps the best weights, stops when patience is over."""

    def __init__(self, job, histories, targets, padding):
        self.job, self.histories, self.targets, self.padding = job, histories, targets, padding
        self.best, self.best_epoch, self.epochs, self.weights = -1.0, 0, 0, None

    def on_train_epoch_end(self, trainer, module):
        self.epochs += 1
        lists = best_items(module.model, self.histories, self.job["max_length"], self.padding)
        module.model.train()
        hit = lists == self.targets[:, None]
        value = float(np.where(hit.any(1), 1.0 / np.log2(hit.argmax(1) + 2.0), 0.0).mean())
        print(f"replay-rec: epoch {self.epochs}, validation NDCG@10 {value:.4f}", file=sys.stderr, flush=True)
        if value > self.best:
            self.best, self.best_epoch = value, self.epochs
            self.weights = {name: tensor.clone() for name, tensor in module.model.state_dict().items()}
        trainer.should_stop = self.epochs - self.best_epoch >= self.job["patience"]


def pad(sequences, length, padding):
    """Rows of the last ``length`` items each, padded on the left."""
    rows = np.full((len(sequences), length), padding, np.int64)
    for row, sequence in zip(rows, sequences, strict=True):
        recent = sequence[-length:]
        row[length - len(recent) :] = recent
    return torch.from_numpy(rows)


@torch.no_grad()
def best_items(model, histories, length, padding):
    """The ten best items (n, 10) behind each history, without those in it."""
    model.eval()
    lists = []
    for start in range(0, len(histories), ROWS_PER_BLOCK):
        block = histories[start : start + ROWS_PER_BLOCK]
        inputs = pad(block, length, padding)
        scores = model(feature_tensors={ITEM: inputs}, padding_mask=inputs != padding)["logits"]
        rows = np.repeat(np.arange(len(block)), [len(one) for one in block])
        scores[torch.from_numpy(rows), torch.from_numpy(np.concatenate(block))] = -torch.inf
        lists.append(scores.topk(10).indices.numpy())
    return np.concatenate(lists)


def main():
    """Read the job, train, write the lists of the test."""
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    lightning.seed_everything(job["seed"], verbose=False)
    with np.load(job["split"]) as found:
        items, starts, train_ends = found["items"] - 1, found["starts"], found["train_ends"]
        test_users, validation_users = found["test_users"], found["validation_users"]
    padding = job["num_items"]
    feature = TensorFeatureInfo(
        ITEM, FeatureType.CATEGORICAL, is_seq=True, feature_hint=FeatureHint.ITEM_ID, embedding_dim=job["hidden_dim"],
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, ITEM)], cardinality=padding, padding_value=padding,
    )  # fmt: skip
    model = SasRec.from_params(
        TensorSchema([feature]), embedding_dim=job["hidden_dim"], num_heads=job["heads"], num_blocks=job["layers"],
        max_sequence_length=job["max_length"], dropout=job["dropout"],
    )  # fmt: skip
    spans = list(zip(starts[:-1], train_ends, strict=True))
    windows = Windows([items[start:end] for start, end in spans], job["max_length"], job["batch_rows"], padding, job["seed"])
    histories = [items[starts[user] : train_ends[user]] for user in validation_users]
    validation = Validation(job, histories, items[train_ends[validation_users]], padding)
    trainer = lightning.Trainer(
        max_epochs=job["epochs"], accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=job["clip_norm"], callbacks=[validation],
        reload_dataloaders_every_n_epochs=1,
    )  # fmt: skip
    optimiser = OptimizerFactory(optimizer="adam", learning_rate=job["learning_rate"], betas=(0.9, 0.98))
    trainer.fit(LightningModule(model, optimizer_factory=optimiser), datamodule=windows)
    model.load_state_dict(validation.weights)
    # A test history ends with the validation event; the test event itself is not in the file.
    histories = [items[starts[user] : train_ends[user] + 1] for user in test_users]
    np.save(job["lists"], best_items(model, histories, job["max_length"], padding) + 1)
    print(json.dumps({"epochs": validation.epochs, "best_epoch": validation.best_epoch, "validation": validation.best}))


if __name__ == "__main__":
    main()
