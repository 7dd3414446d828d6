"""The rows of the comparison and of the published check: each trained once, then found again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.backbone.kept import kept
from benchmarks.backbone.peer import NAME, train_peer
from benchmarks.backbone.split import Split
from benchmarks.backbone.training import Budget, Say, Trained, train_ours
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError

OURS, NEUTRAL, PEER = "dynmm", "dynmm popularity-neutral", NAME
COMPARED = (OURS, PEER, NEUTRAL)
BCE, CE = "dynmm bce", "dynmm softmax"
PUBLISHED = (BCE, CE)
_SETTINGS: dict[str, dict[str, Any]] = {OURS: {}, NEUTRAL: {"log_q_weight": 1.0}, BCE: {"loss": "bce"}, CE: {}}

# As in the code of Klenitskiy and Vasilev, 2023, from which most of the published figures come.
PUBLISHED_BUDGET = Budget(
    heads=1, max_length=200, dropout=0.1, learning_rate=1e-3, batch_rows=128, epochs=100, patience=10
)  # fmt: skip
COMPLETE_ROWS, COMPLETE_USERS = 1_000_209, 6_040


def choose(only: Sequence[str], published: bool) -> tuple[str, ...]:
    """The rows to train: all, or those named.

    Raises:
        UserError: there is no such row.
    """
    rows = PUBLISHED if published else COMPARED
    for name in only:
        if name not in rows:
            raise UserError(f"--only: {name!r} is no row; choose from {', '.join(map(repr, rows))}")
    return tuple(name for name in rows if not only or name in only)


def refuse_incomplete(log: PreparedLog) -> None:
    """Raise UserError unless this is the complete ML-1M: the published figures hold for no other log."""
    if (log.rows, log.users) != (COMPLETE_ROWS, COMPLETE_USERS):
        raise UserError(
            f"DATA: {log.name} has {log.rows:,} rows of {log.users:,} users, the complete ML-1M {COMPLETE_ROWS:,} of"
            f" {COMPLETE_USERS:,}; get it with dynmm data fetch ml-1m, and prepare it without --min-rating"
        )


def train_rows(log: PreparedLog, names: Sequence[str], budget: Budget, work: Path, say: Say) -> list[Trained]:
    """Train these rows on the log's split, or find them in ``work``."""
    split = Split.of_log(log)
    found = []
    for name in names:
        decides = {"log": log.fingerprint, "budget": budget.to_json(), "settings": _SETTINGS.get(name, {})}

        def train(name: str = name) -> Trained:
            return train_peer(split, budget) if name == PEER else train_ours(name, split, budget, say, **_SETTINGS[name])

        found.append(kept(work, name, decides, train))
        say(f"{name}: done, best after epoch {found[-1].best_epoch}")
    return found
