"""docs/dataflow.md shows the dataflow that runs."""

from pathlib import Path

from flows.diagram import mermaid


def test_the_chart_is_the_one_that_the_dataflow_draws() -> None:
    page = (Path(__file__).parents[2] / "docs/dataflow.md").read_text()
    chart = page.split("```mermaid\n")[1].split("```")[0]
    assert chart.strip() == mermaid().strip()
