"""docs/simulators.md shows a schedule and code that work, and every kind of drift, preset and measure."""

import re
from pathlib import Path

import numpy as np

from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from simulators import measures
from simulators.made import Made
from simulators.output import write_made
from simulators.schedule import KINDS, parse_schedule
from simulators.truth import Truth

PAGE = (Path(__file__).parents[2] / "docs/simulators.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_schedule_and_the_code_of_the_page_work(tmp_path: Path) -> None:
    schedule = parse_schedule(block("toml"), "the page")
    settings = schedule.settings(events=3_000, users=100, items=200, online_hours=48)
    made = Made.drawn(settings, schedule.drift)
    assert [drift.id for drift in made.truth.drifts] == ["season", "item_birth-2", "label_noise-3"]
    write_made(tmp_path / "out", made.table, made.truth)
    prepare_folder(tmp_path / "out", tmp_path / "data", Options(name="page"))
    names = {
        "Truth": Truth, "PreparedLog": PreparedLog, "user_ids": ["u00000001", "u00000099"], "previous": np.array([-1, 7]),
        "times_ms": np.full(2, made.truth.cut_ms), "Path": lambda name: tmp_path / name.lower(),
    }  # fmt: skip
    exec(block("python"), names)  # that is what the page promises
    assert names["chance"].shape == (2, 200) and names["best"].shape == (2, 10)  # type: ignore[attr-defined]


def test_every_kind_and_measure_has_its_row() -> None:
    rows = set(re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE))
    shown = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    functions = {name for name, value in vars(measures).items() if getattr(value, "__module__", "") == measures.__name__}
    assert shown == {*KINDS, *functions} - {"Detections"}
