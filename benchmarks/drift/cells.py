"""The parts of a cell: its stream, its bundle, its run, all by plain commands, and the small file that keeps its figures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.drift.names import ORACLE
from benchmarks.drift.protocol import Cell
from benchmarks.origin import commit, machine
from benchmarks.processes import run_dynmm
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from replay.files import write_atomically
from replay.run_folder import METRICS_FILE, WINDOWS_FILE
from replay.truth import read_marks

THREADS = 1  # of each process: several run side by side, and sums of floats hang on it
_COST_FILE = "cost.json"
_DIGITS = 6


@dataclass(frozen=True)
class Folders:
    """Where streams, bundles, runs and logs are kept and found again, and where a protocol's result files lie."""

    work: Path
    results: Path

    def result(self, cell: Cell) -> Path:
        """The cell's result file."""
        return self.results / cell.protocol / f"{cell.name}.json"

    def stream(self, cell: Cell) -> Path:
        """The folder of the simulated log and its truth."""
        return self.work / "streams" / cell.stream

    def prepared(self, cell: Cell) -> Path:
        """The folder of the prepared log."""
        return self.work / "data" / cell.stream

    def run(self, cell: Cell) -> Path:
        """The folder of the replay."""
        return self.work / "runs" / cell.run

    def log(self, kind: str, name: str) -> Path:
        """Where a command's messages go."""
        folder = self.work / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{kind}.{name}.log"


def simulate_words(cell: Cell) -> list[str]:
    """The command that draws the cell's stream, but for where to."""
    sizes = [word for name, value in cell.sizes for word in (f"--{name.replace('_', '-')}", str(value))]
    return ["simulate", "--preset", cell.preset, "--seed", str(cell.seed), *sizes, "--out", "STREAM"]


def pretrain_words(cell: Cell) -> list[str]:
    """The command that makes the cell's bundle."""
    costly = ["--costly"] if cell.costly else []
    words = ["pretrain", "DATA", "--out", "BUNDLE", "--profile", cell.profile, "--seed", str(cell.seed), *costly]
    return [*words, "--threads", str(THREADS)]


def replay_words(cell: Cell) -> list[str]:
    """The command that ranks with all of the cell's models."""
    words = ["replay", "DATA", "--bundle", "BUNDLE", "--out", "RUN", "--truth", "STREAM", "--seed", str(cell.seed)]
    return [*words, "--models", ",".join(cell.models), "--keep-consumed", "--threads", str(THREADS)]


def make_stream(cell: Cell, folders: Folders) -> None:
    """Draw and prepare the cell's stream, as far as that is not done yet."""
    stream, prepared = folders.stream(cell), folders.prepared(cell)
    if not stream.exists():
        _command(simulate_words(cell), folders.log("simulate", cell.stream), STREAM=stream)
    if not prepared.exists():
        _command(
            ["data", "prepare", "STREAM", "--out", "DATA"], folders.log("prepare", cell.stream), STREAM=stream, DATA=prepared
        )


def bundle_name(cell: Cell, folders: Folders) -> str:
    """The name of the cell's bundle, which streams of one history share."""
    history = PreparedLog.open(folders.prepared(cell)).history_fingerprint()
    return f"{cell.profile}.s{cell.seed}.{'costly' if cell.costly else 'plain'}.{history[:12]}"


def make_bundle(cell: Cell, name: str, folders: Folders) -> Path:
    """Pre-train on the cell's history, unless that is done; return the bundle's folder."""
    bundle = folders.work / "bundles" / name
    if not bundle.exists():
        cost = _command(pretrain_words(cell), folders.log("pretrain", name), DATA=folders.prepared(cell), BUNDLE=bundle)
        write_atomically(bundle.with_name(f"{name}.{_COST_FILE}"), json.dumps(cost).encode())
    return bundle


def run_cell(cell: Cell, bundle: Path, folders: Folders) -> None:
    """Replay the cell's stream, unless that is done, and write its result file."""
    run = folders.run(cell)
    cost = run.with_name(f"{run.name}.{_COST_FILE}")
    if not (run / METRICS_FILE).is_file():
        paths = {"DATA": folders.prepared(cell), "BUNDLE": bundle, "RUN": run, "STREAM": folders.stream(cell)}
        spent = _command(replay_words(cell), folders.log("replay", cell.run), **paths)
        write_atomically(cost, json.dumps(spent).encode())
    costs = {"pretrain": _read(bundle.with_name(f"{bundle.name}.{_COST_FILE}")), "replay": _read(cost)}
    document = _document(cell, run, bundle.name, costs)
    write_atomically(folders.result(cell), (json.dumps(document) + "\n").encode())


def read_result(cell: Cell, folders: Folders) -> dict[str, Any] | None:
    """Return the cell's document, None where it is not finished.

    Raises:
        UserError: the file tells of another stream or of other models than the protocol now asks for, or is damaged.
    """
    path = folders.result(cell)
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        there = document["asked"]
    except (ValueError, KeyError) as error:
        raise UserError(f"--results: {path} is no result of this version of dynmm; remove it") from error
    for field, asked in cell.to_json().items():
        if there.get(field) != asked:
            raise UserError(
                f"--results: {path} was made with {field} = {there.get(field)!r}, the protocol asks for {asked!r};"
                " remove it, or name another folder"
            )
    return document


def _command(words: Sequence[str], log: Path, **paths: Path) -> dict[str, float]:
    return run_dynmm([str(paths.get(word, word)) for word in words], log, THREADS).to_json()


def _read(path: Path) -> dict[str, float] | None:
    return dict(json.loads(path.read_text())) if path.is_file() else None


def _document(cell: Cell, run: Path, bundle: str, costs: dict[str, Any]) -> dict[str, Any]:
    metrics, marks = json.loads((run / METRICS_FILE).read_text()), read_marks(run)
    assert marks is not None
    table = pq.read_table(run / WINDOWS_FILE, columns=["window_start_ms", "model", "n", "ndcg@10"]).to_pylist()
    models = [*cell.models, ORACLE]
    sums = {model: [round(row["ndcg@10"], _DIGITS) for row in table if row["model"] == model] for model in models}
    ranked = [row for row in table if row["model"] == ORACLE]
    commands = [simulate_words(cell), pretrain_words(cell), replay_words(cell)]
    return {
        "protocol": cell.protocol, "cell": cell.name, "asked": cell.to_json(), "bundle": bundle,
        "commands": [" ".join(["dynmm", *words]) for words in commands],
        "config_hash": metrics["config_hash"], "events": metrics["events"], "drift": marks.model_dump(mode="json"),
        "window_start_ms": [row["window_start_ms"] for row in ranked], "n": [row["n"] for row in ranked], "ndcg@10": sums,
        **{name: metrics[name] for name in ("update_cpu_seconds", "rank_cpu_seconds")}, "costs": costs,
        "commit": commit(), "environment": machine(),
    }  # fmt: skip
