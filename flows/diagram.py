"""The pictures of the dataflows, drawn from the dataflows themselves."""

from pathlib import Path
from typing import get_args

from bytewax.dataflow import Dataflow
from bytewax.visualize import to_mermaid

from dynmm_core.adapt.settings import AdaptSettings
from dynmm_core.windows.progress import start_point
from flows.config import FlowConfig
from flows.embedded import build as build_embedded
from flows.kafka.plan import FlowPlan, ReadPlan, SummariesPlan
from flows.kafka.process import LiveProcess
from flows.kafka.settings import KafkaSettings
from flows.live.config import FlowKind, LiveConfig, StreamSettings
from flows.live.dataflows import build as build_live
from flows.observe.health import Health
from flows.observe.metrics import FlowMetrics

_NOWHERE = Path("unused")


def charts() -> dict[str, str]:
    """Every dataflow as a Mermaid flow chart, by name; nothing is read or opened for it."""
    embedded = build_embedded(FlowConfig(data=_NOWHERE, run_dir=_NOWHERE, adapt=_adapt()))
    live = {kind: to_mermaid(_live(kind)) for kind in get_args(FlowKind)}
    return {"embedded": to_mermaid(embedded), **live}


def _live(kind: FlowKind) -> Dataflow:
    adapt = None if kind == "summarize" else _adapt()
    stream = StreamSettings(slide_ms=_adapt().slide_ms)
    config = LiveConfig(kind=kind, kafka=KafkaSettings(bootstrap="unused:1"), recovery=_NOWHERE, adapt=adapt, stream=stream)
    reading, summaries = ReadPlan(points={0: start_point(0, 0).to_json()}), SummariesPlan(offsets={0: 0})
    plan = FlowPlan(interactions=reading) if kind != "adapt" else FlowPlan(summaries=summaries)
    return build_live(config, plan, LiveProcess(0, None, FlowMetrics("drawn", kind, 0), Health()))


def _adapt() -> AdaptSettings:
    return AdaptSettings(bundle=_NOWHERE, run_dir=_NOWHERE, config_hash="")


if __name__ == "__main__":
    for name, chart in charts().items():
        print(f"## {name}\n\n```mermaid\n{chart.strip()}\n```\n")
