"""Runs a cell with the commands that a user types, and keeps what it found in one JSON file."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.origin import commit, machine
from benchmarks.processes import run_dynmm
from benchmarks.quality.plan import Cell
from dynmm_core.datasets.dataset_file import DATASET_FILE
from dynmm_core.errors import UserError
from dynmm_core.store.latents import LatentStore
from replay.files import write_atomically
from replay.results import stratum_ratios
from replay.run_folder import METRICS_FILE
from replay.runner import read_outcome

_COSTS_FILE = "costs.json"
_KEPT_METRICS = ("hr@10", "ndcg@10")


def result_file(results: Path, cell: Cell) -> Path:
    """Where the cell's document lies once it is finished."""
    return results / f"{cell.name}.json"


def run_cell(cell: Cell, data: Path, work: Path, results: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Prepare, pre-train and replay as far as that is not done yet; write the cell's document and return it.

    Raises:
        UserError: ``data`` holds no folder of that name, the run in ``work`` is of other options, or a command was refused.
    """
    source = data / cell.data
    if not source.is_dir():
        raise UserError(f"--data: {data} holds no folder {cell.data}; name the folder that holds the data sets")
    prepared, bundle, run = work / "data" / cell.data, work / "bundles" / cell.bundle, work / "runs" / cell.name
    if (source / DATASET_FILE).is_file():
        prepared = source
    elif not prepared.exists():
        _command(["data", "prepare", str(source), "--out", str(prepared)], say)
    pretrain, replay = _commands(cell)
    if not bundle.exists():
        cost = _command(_with(pretrain, DATA=prepared, BUNDLE=bundle), say)
        write_atomically(bundle.parent / f"{cell.bundle}.{_COSTS_FILE}", json.dumps(cost).encode())
    costs = run.parent / f"{cell.name}.{_COSTS_FILE}"
    if not (run / METRICS_FILE).is_file():
        cost = _command(_with(replay, DATA=prepared, BUNDLE=bundle, RUN=run), say, goes_on=run.exists())
        write_atomically(costs, json.dumps({**cost, "words": replay}).encode())
    spent = _cost(costs) or {}
    if spent.pop("words", replay) != replay:
        raise UserError(f"--work: {run} was made with other options than the plan has; remove it to run the cell again")
    found = {"pretrain": _cost(bundle.parent / f"{cell.bundle}.{_COSTS_FILE}"), "replay": spent or None}
    document = _document(cell, run, found)
    write_atomically(result_file(results, cell), (json.dumps(document, indent=1) + "\n").encode())
    return document


def read_cell(results: Path, cell: Cell) -> dict[str, Any]:
    """Return a finished cell's document.

    Raises:
        UserError: it is of other commands than the plan has now.
    """
    file = result_file(results, cell)
    document: dict[str, Any] = json.loads(file.read_text())
    if document["commands"] != _as_typed(cell):
        raise UserError(f"--results: {file} is of other commands than the plan has; remove it to run the cell again")
    return document


def _commands(cell: Cell) -> tuple[list[str], list[str]]:
    pretrain = ["pretrain", "DATA", "--out", "BUNDLE", "--profile", cell.profile, "--seed", str(cell.bundle_seed), *cell.pretrain]
    return pretrain, ["replay", "DATA", "--bundle", "BUNDLE", "--out", "RUN", "--seed", str(cell.seed), *cell.replay_words()]


def _as_typed(cell: Cell) -> list[str]:
    return [" ".join(["dynmm", *words]) for words in _commands(cell)]


def _command(words: Sequence[str], say: Callable[[str], None], goes_on: bool = False) -> dict[str, Any]:
    """What a command cost, with the commit of the code that ran; ``goes_on``: what ran before was killed, and is in no figure."""
    say(" ".join(["dynmm", *words]))
    code = commit()
    return {**run_dynmm(words).to_json(), "commit": code, "resumed": goes_on}


def _with(words: Sequence[str], **paths: Path) -> list[str]:
    return [str(paths.get(word, word)) for word in words]


def _cost(path: Path) -> dict[str, Any] | None:
    return dict(json.loads(path.read_text())) if path.is_file() else None


def _document(cell: Cell, run: Path, costs: dict[str, Any]) -> dict[str, Any]:
    outcome = read_outcome(run)
    metrics = outcome.metrics
    best = outcome.ratios[0].denominator if outcome.ratios else None
    models = {
        model: {**{name: figures[name] for name in _KEPT_METRICS}, "strata": _strata(figures["strata"])}
        for model, figures in metrics["models"].items()
    }
    commits = [version.metrics for version in LatentStore.open(run / "store").active()]
    strata = stratum_ratios(commits, "adapted", best) if best else {}
    return {
        "cell": cell.name, "data": cell.data, "profile": cell.profile, "bundle_seed": cell.bundle_seed, "seed": cell.seed,
        "tag": cell.tag, "commands": _as_typed(cell), "config_hash": metrics["config_hash"],
        **{name: metrics[name] for name in ("windows", "events", "peak_rss_mb", "drift_alarms")},
        "update_cpu_seconds": metrics["update_cpu_seconds"],
        "candidate_recall": metrics["models"].get("adapted", {}).get("candidate_recall"),
        "models": models, "ratios": [asdict(ratio) for ratio in outcome.ratios],
        "stratum_ratios": {stratum: asdict(ratio) for stratum, ratio in strata.items()},
        "costs": costs, "commit": (costs["replay"] or {"commit": commit()})["commit"], "environment": machine(),
    }  # fmt: skip


def _strata(strata: dict[str, Any]) -> dict[str, Any]:
    return {name: {"n": figures["n"], **{one: figures[one] for one in _KEPT_METRICS}} for name, figures in strata.items()}
