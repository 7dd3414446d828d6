"""The page as a file: nothing to fetch, nothing unescaped, nothing overwritten that is not ours."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from dynmm_core.errors import UserError
from replay.html.gap import figures_of
from replay.html.headline import ratio_sentence
from replay.html.page import render, write_page
from replay.html.report import report_page
from replay.results import Ratio
from simulators.truth_file import DriftMark
from tests.report.made_run import HOUR_MS, START_MS, Plan, made_run

HOSTILE = "<script>alert(1)</script>&\"'"
STYLE = Path(__file__).parents[2] / "replay/html/page/report.css"


def drift(id: str, kind: str = "abrupt", start: int = 8, end: int | None = None) -> DriftMark:
    """A drift from one hour of the made stream to another, or to its end."""
    start_ms, end_ms = START_MS + start * HOUR_MS, None if end is None else START_MS + end * HOUR_MS
    levels = [(start_ms, 1.0), *([] if end_ms is None else [(end_ms, 0.0)])]
    return DriftMark(
        id=id, kind=kind, start_ms=start_ms, end_ms=end_ms, magnitude=0.5, levels=levels, items_affected=10, users_affected=20
    )


@pytest.fixture(scope="module")
def hostile_page() -> str:
    """A report whose run, log, drift and alarms have names that would be code in HTML."""
    run = made_run(Plan(dataset=HOSTILE, oracle=0.4), Path("runs") / "<script>alert(1)<", [drift(HOSTILE, HOSTILE)])
    alarms = [{"slide_end_ms": START_MS + HOUR_MS, "detector": HOSTILE, "signal": HOSTILE, "value": 0.5}]
    return render(report_page(replace(run, metrics={**run.metrics, "drift_alarms": alarms})))


def without_plotly(page: str) -> str:
    assert page.count(get_plotlyjs()) == 1
    return page.replace(get_plotlyjs(), "")


def test_plotly_ends_no_script_element() -> None:
    assert "</script" not in get_plotlyjs().lower() and "<!--" not in get_plotlyjs()


def test_names_that_look_like_code_are_shown_as_text(hostile_page: str) -> None:
    ours = without_plotly(hostile_page)
    assert "<script>alert" not in ours
    assert "&lt;script&gt;alert(1)&lt;" in ours
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', ours, re.DOTALL)
    assert data is not None
    assert "<" not in data[1], "what ends a script element must not stand in one"
    figures = json.loads(data[1])["charts"]
    note = figures["time"]["figures"]["NDCG@10"]["layout"]["annotations"][0]
    assert note["text"] == "D1"
    # Plotly reads some tags, so that what it is given is escaped as well.
    for trace in figures["timeline"]["figures"][""]["data"]:
        assert "<script" not in trace["hovertemplate"] and "&lt;script&gt;" in trace["hovertemplate"]
        assert "<script" not in trace["y"][0]


def test_nothing_is_fetched_and_no_other_script_may_run(hostile_page: str) -> None:
    ours = without_plotly(hostile_page)
    assert not re.search(r"(?:src|href|action|poster|data)=[\"'](?!#)", ours)
    assert not re.search(r"@import|url\(|https?:", STYLE.read_text())
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', ours)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1] and policy[1].count("sha256-") == 2
    assert "unsafe-inline" not in policy[1].split("script-src")[1].split(";")[0] and "unsafe-eval" not in policy[1]


def test_our_own_report_is_written_anew_and_no_other_file(tmp_path: Path) -> None:
    page = report_page(made_run(Plan(windows=4)))
    target = tmp_path / "new" / "report.html"

    assert write_page(target, page) == target.stat().st_size < 10_000_000
    target.write_bytes(target.read_bytes() + b"<!-- longer -->")
    assert write_page(target, page) == target.stat().st_size

    target.write_text("<html>mine</html>")
    with pytest.raises(UserError, match="is no report of dynmm and stays as it is"):
        write_page(target, page)
    assert target.read_text() == "<html>mine</html>"
    with pytest.raises(UserError, match="is a folder"):
        write_page(tmp_path, page)


def test_what_a_run_lacks_is_left_out_with_a_word_on_how_to_get_it() -> None:
    bare = report_page(made_run(Plan(windows=4)))
    absent = {section.id: section.absent for section in bare.sections if section.absent}
    assert set(absent) == {"gap", "recovery", "drift", "refresh"}
    assert "--truth" in absent["gap"] and "--refresh" in absent["refresh"]

    full = report_page(made_run(Plan(windows=24, oracle=0.4), drifts=[drift("d")]))
    assert {section.id for section in full.sections if section.absent} == {"refresh"}
    alone = report_page(made_run(Plan(windows=4, models=(("static", 0.1),))))
    assert alone.headline.startswith("static ranked alone")


def test_a_passing_drift_is_shaded_and_one_that_stays_is_not() -> None:
    drifts = [
        drift("stays", start=4),
        drift("passes", start=6, end=9),
        drift("will pass", start=20, end=40),
        drift("later", start=30),
    ]
    run = made_run(Plan(windows=24), drifts=drifts)
    chart = next(section for section in report_page(run).sections if section.id == "over-time").charts[0]
    shapes = chart.figures["NDCG@10"].layout.shapes

    starts = [(shape.x0 - START_MS) // HOUR_MS for shape in shapes if shape.name == "start"]
    shades = [((shape.x0 - START_MS) // HOUR_MS, (shape.x1 - START_MS) // HOUR_MS) for shape in shapes if shape.name == "shade"]
    assert (starts, shades) == ([4, 6, 20], [(6, 9), (20, 24)])


def test_an_alarm_is_told_by_its_distance_from_the_last_change() -> None:
    run = made_run(Plan(windows=24), drifts=[drift("passes", start=6, end=9)])
    times = {6: "–", 8: "2h (D1)", 10: "1h (D1)"}
    alarms = [
        {"slide_end_ms": START_MS + hour * HOUR_MS, "detector": "adwin", "signal": "ndcg@10", "value": 0.5} for hour in times
    ]
    section = next(
        one for one in report_page(replace(run, metrics={**run.metrics, "drift_alarms": alarms})).sections if one.id == "drift"
    )

    assert [row[-1].text for row in section.tables[0].rows] == list(times.values())
    assert [row[-2].text for row in section.tables[0].rows] == ["–"] * 3, "what was expected is not known of every detector"


def test_recovery_is_shown_for_every_model_and_drift_and_never_is_said_so() -> None:
    run = made_run(Plan(windows=24, oracle=0.4), drifts=[drift("early", start=3), drift("measured", start=12)])
    section = next(section for section in report_page(run).sections if section.id == "recovery")
    figures = {one.model: one for one in figures_of(run)}

    assert [chart.id for chart in section.charts] == ["recovery-2"], "the first drift has too few windows before it"
    rows = {row[0].text: row[1].text for row in section.charts[0].table.rows}
    assert rows == {model: told(one.drifts[1].recovery_windows) for model, one in figures.items()}
    assert "never" in rows.values() and any(text.isdigit() for text in rows.values())
    assert {(row[0].text, row[1].text) for row in section.tables[0].rows} >= {("adapted", "D1 early"), ("static", "D2 measured")}


def told(windows: int | None) -> str:
    return "never" if windows is None else str(windows)


def test_regret_ends_at_what_was_lost_and_the_gap_is_that_of_the_means() -> None:
    run = made_run(Plan(windows=24, oracle=0.4))
    charts = {chart.id: chart for chart in next(one for one in report_page(run).sections if one.id == "gap").charts}
    models = [trace.meta["model"] for trace in charts["regret"].figures[""].data]

    assert "oracle" not in models
    for name, trace in zip(models, charts["regret"].figures[""].data, strict=True):
        lost = run.windows.total("oracle", "ndcg@10") - run.windows.total(name, "ndcg@10")
        assert trace.y[-1] == pytest.approx(lost, abs=1e-3)
    means = 100 * run.windows.means("ndcg@10")
    gap = means[run.windows.of("oracle")] - means[run.windows.of(models[0])]
    assert charts["short"].figures[""].data[0].y == pytest.approx(gap, abs=1e-3)


def test_many_windows_are_added_up_and_the_chart_says_so() -> None:
    run = made_run(Plan(windows=500, every=2, events=4, models=(("static", 0.1), ("adapted", 0.3))))
    sections = {section.id: section for section in report_page(run).sections}
    chart = sections["over-time"].charts[0]

    assert "Each point adds up six hours: 500 one-hour windows" in chart.about
    line = next(trace for trace in chart.figures["NDCG@10"].data if trace.meta == {"model": "adapted", "role": "line"})
    assert len(line.x) == len(chart.table.rows) == 167
    assert line.y[0] == pytest.approx(chart.table.rows[0][2 + run.windows.of("adapted")].sort, abs=1e-4)


@pytest.mark.parametrize(
    ("low", "high", "blocks", "told"),
    [
        (
            1.1,
            1.4,
            12,
            "adapted is ahead of the best simple model, item_knn: 1.250 times its NDCG@10 (95 % interval 1.100 to 1.400).",
        ),
        (0.9, 1.4, 12, "adapted cannot be told from the best simple model, item_knn: 1.250 times"),
        (0.7, 0.9, 12, "adapted is behind the best simple model, item_knn: 1.250 times"),
        (1.25, 1.25, 1, "1.250 times the NDCG@10 of the best simple model, item_knn; 5 windows are too few for an interval."),
    ],
)
def test_the_headline_claims_no_more_than_its_interval(low: float, high: float, blocks: int, told: str) -> None:
    assert told in ratio_sentence(Ratio("adapted", "item_knn", "ndcg@10", 1.25, low, high, 6, blocks, 5))


def test_every_colour_stands_out_from_the_page_in_light_and_dark() -> None:
    for block in re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        assert sum(name.startswith("series-") for name in colours) == 10
        for name in colours:
            least = 4.5 if name in ("ink", "muted", "accent") else 3.0
            if name in ("ink", "muted", "accent") or name.startswith("series-"):
                assert contrast(colours[name], colours["paper"]) >= least, name


def contrast(one: str, other: str) -> float:
    """The ratio of luminances by which WCAG 2 judges what can be read."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
