"""The picture of the dataflow shows the dataflow; its step ids are the recovery identity and must not change by accident."""

import re
from itertools import pairwise

from flows.diagram import mermaid

STEPS = {
    "read_log", "route_buckets", "summarize_slides", "key_adapt", "adapt_slides", "count_slides",
    "pick_late", "write_late", "pick_dead", "write_dead",
    "pick_tallies", "pick_markers", "merge_accounts", "count_events",
}  # fmt: skip


def test_the_diagram_names_every_step_once_by_verb_and_noun() -> None:
    drawn = re.findall(r'^embedded\.(\w+)\["\1 \(', mermaid(), re.MULTILINE)
    assert len(drawn) == len(STEPS)
    assert set(drawn) == STEPS


def test_the_main_path_goes_from_the_log_to_adapt() -> None:
    arrows = set(re.findall(r"^embedded\.(\w+) -- .* --> embedded\.(\w+)$", mermaid(), re.MULTILINE))
    path = ["read_log", "route_buckets", "summarize_slides", "key_adapt", "adapt_slides", "count_slides"]
    assert set(pairwise(path)) <= arrows
