"""The pictures show the dataflows: every step is named once, by verb and noun, and the main path is unbroken."""

import re
from itertools import pairwise

import pytest

from flows.diagram import charts

LETTERS = {"pick_late", "write_late", "pick_dead", "write_dead"}
PATHS = {
    "embedded": ["read_log", "route_buckets", "summarize_slides", "key_adapt", "adapt_slides", "count_slides"],
    "summarize": ["read_interactions", "route_buckets", "summarize_slides", "write_summaries"],
    "adapt": ["read_summaries", "adapt_slides", "count_slides"],
    "all": ["read_interactions", "route_buckets", "summarize_slides", "key_adapt", "adapt_slides", "count_slides"],
}


@pytest.mark.parametrize("name", PATHS)
def test_a_picture_names_every_step_once(name: str) -> None:
    drawn = re.findall(rf'^{name}\.(\w+)\["\1 \(', charts()[name], re.MULTILINE)
    assert sorted(drawn) == sorted({*PATHS[name], *(LETTERS if name == "embedded" else ())})


@pytest.mark.parametrize("name", PATHS)
def test_the_main_path_goes_from_the_log_to_its_end(name: str) -> None:
    arrows = set(re.findall(rf"^{name}\.(\w+) -- .* --> {name}\.(\w+)$", charts()[name], re.MULTILINE))
    assert set(pairwise(PATHS[name])) <= arrows
