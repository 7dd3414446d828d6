"""What tests share: the real data, where a developer or CI has it."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; skips, and says why, where ``DYNMM_DATA`` is not set."""
    folder = os.environ.get("DYNMM_DATA")
    if not folder:
        pytest.skip("DYNMM_DATA is not set: tests on real data are left out")
    return Path(folder)
