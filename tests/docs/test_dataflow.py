"""docs/dataflow.md shows the dataflows that run."""

import re
from pathlib import Path

from flows.diagram import charts


def test_the_charts_are_those_that_the_dataflows_draw() -> None:
    page = (Path(__file__).parents[2] / "docs/dataflow.md").read_text()
    shown = dict(re.findall(r"^## (\w+)\n\n```mermaid\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL))
    assert shown == {name: chart.strip() for name, chart in charts().items()}
