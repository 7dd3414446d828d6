"""The picture of the dataflow, drawn from the dataflow itself."""

from pathlib import Path

from bytewax.visualize import to_mermaid

from dynmm_core.adapt.settings import AdaptSettings
from flows.config import FlowConfig
from flows.embedded import build


def mermaid() -> str:
    """The embedded dataflow as a Mermaid flow chart; nothing is read or opened for it."""
    nowhere = Path("unused")
    adapt = AdaptSettings(bundle=nowhere, run_dir=nowhere, config_hash="")
    return to_mermaid(build(FlowConfig(data=nowhere, run_dir=nowhere, adapt=adapt)))


if __name__ == "__main__":
    print(mermaid())
