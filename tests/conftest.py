"""What tests share: the real data, where a developer or CI has it."""

import os
from pathlib import Path

import pytest

# As the command line does: threads that spin while they wait starve each other where cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; skips, and says why, where ``DYNMM_DATA`` is not set."""
    folder = os.environ.get("DYNMM_DATA")
    if not folder:
        pytest.skip("DYNMM_DATA is not set: tests on real data are left out")
    return Path(folder)
