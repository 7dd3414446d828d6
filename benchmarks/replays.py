"""Runs a protocol: per data set prepare, pretrain, replay; what lies in the work folder already is used again."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.origin import machine
from dynmm_core.adapt.pretrain import PretrainSettings, pretrain
from dynmm_core.adapt.settings import COSTLY_MODELS
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.dataset_file import DATASET_FILE
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from replay.config import merge_options
from replay.files import write_atomically
from replay.protocols import ProtocolData, ProtocolFile, ProtocolPretrain
from replay.run_folder import METRICS_FILE
from replay.runner import Outcome, ReplayRequest, read_outcome, replay_log

STAGES_FILE = "stages.json"


def run_protocol(protocol: ProtocolFile, data: Path, work: Path, results: Path) -> Iterator[tuple[Outcome, dict[str, Any]]]:
    """Replay each data set of the protocol, write its result file, and yield both.

    Bundles are shared by protocols that pretrain alike; the runs lie apart.

    Raises:
        UserError: the protocol names no data, or a folder that ``data`` does not hold; before anything runs.
    """
    if not protocol.data:
        raise UserError(f"protocol: {protocol.name} names no [[data]]; add the folders to replay")
    for entry in protocol.data:
        if not (data / entry.name).is_dir():
            raise UserError(f"--data: {data} holds no folder {entry.name}; name the folder that holds the data sets")
        merge_options(entry.replay, protocol.replay)
    for entry in protocol.data:
        outcome, seconds = _run(protocol, entry, data / entry.name, work)
        document = {
            "protocol": protocol.name,
            "replay": {**protocol.replay, **entry.replay},
            "pretrain": protocol.pretrain.model_dump(),
            "metrics": outcome.metrics,
            "ratios": [asdict(ratio) for ratio in outcome.ratios],
            "accounting": outcome.accounting,
            "seconds": seconds,
            "environment": machine(),
        }
        file = results / f"{protocol.name}.{entry.name}.json"
        write_atomically(file, (json.dumps(document, indent=2) + "\n").encode())
        yield outcome, document


def _run(protocol: ProtocolFile, entry: ProtocolData, source: Path, work: Path) -> tuple[Outcome, dict[str, float]]:
    folder = work / f"{protocol.pretrain.profile}-seed-{protocol.pretrain.seed}" / entry.name
    prepared, bundle = _prepared(source, folder), folder / "bundle"
    options = merge_options(entry.replay, protocol.replay)
    if not bundle.exists():
        _timed(folder, "pretrain", lambda: _pretrain(prepared, bundle, protocol.pretrain, options.models))
    request = ReplayRequest(
        data=prepared,
        bundle=bundle,
        out=folder / "runs" / protocol.name,
        options=options,
        protocol=protocol.name,
    )
    finished = (request.out / METRICS_FILE).exists()
    outcome = read_outcome(request.out) if finished else replay_log(request)
    return outcome, {**_stages(folder), "replay": outcome.metrics["seconds"]}


def _prepared(source: Path, folder: Path) -> Path:
    if (source / DATASET_FILE).is_file():
        return source
    if not (folder / "data").exists():
        _timed(folder, "prepare", lambda: prepare_folder(source, folder / "data", Options(name=source.name)))
    return folder / "data"


def _pretrain(prepared: Path, bundle: Path, settings: ProtocolPretrain, models: Sequence[str]) -> None:
    costly = not set(COSTLY_MODELS).isdisjoint(models)
    pretrain(PreparedLog.open(prepared), bundle, PretrainSettings(profile=settings.profile, seed=settings.seed, costly=costly))


def _timed(folder: Path, stage: str, work: Callable[[], object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    work()
    stages = {**_stages(folder), stage: round(time.monotonic() - begun, 1)}
    write_atomically(folder / STAGES_FILE, json.dumps(stages).encode())


def _stages(folder: Path) -> dict[str, float]:
    file = folder / STAGES_FILE
    return dict(json.loads(file.read_text())) if file.is_file() else {}
