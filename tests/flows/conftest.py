"""A small log and the run that every flow test varies."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynmm_core.adapt.settings import AdaptSettings
from flows.config import FlowConfig

# Engines are named by import strings, also in worker processes, which inherit this path.
sys.path.append(str(Path(__file__).parent))

from flow_log import write_log


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("data"))


@pytest.fixture
def configure(log: Path, tmp_path: Path) -> Callable[..., FlowConfig]:
    """A run of the log with the recording engine, changed as asked."""

    def config(**changes: Any) -> FlowConfig:
        run_dir = changes.pop("run_dir", tmp_path / "run")
        adapt = AdaptSettings(bundle=tmp_path / "no_bundle", run_dir=run_dir, config_hash="test")
        plain = {"data": log, "run_dir": run_dir, "adapt": adapt, "engine": "fake_engine:open_engine"}
        return FlowConfig(**{**plain, **changes})

    return config
