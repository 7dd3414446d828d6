"""`dynmm bench quality`: plans are read strictly, a cell is run once with plain commands, and its file tells what came out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.quality.cells import read_cell, run_cell
from benchmarks.quality.plan import read_plan
from benchmarks.quality.report import cpu_seconds
from dynmm_core.cli import main
from dynmm_core.errors import UserError
from dynmm_core.store.latents import LatentStore
from replay.results import collect, ratio_interval, stratum_ratios
from replay.run_folder import read_run
from tests.replay.tiny import EVENTS, bundle_tiny, prepare_tiny, tiny_events

PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "quality" / "plan.toml"
PLAN = """
name = "tiny"
[[runs]]
data = "tiny"
bundle_seed = 1
seeds = [3]
replay = { models = "static,window_popularity,switch,adapted", keep_consumed = true }
"""


def test_the_published_plan_holds_five_runs_of_each_drifting_log() -> None:
    cells = read_plan(PUBLISHED)
    for data in ("globo-week1", "movietweetings-100k"):
        plain = [cell for cell in cells if (cell.data, cell.profile, cell.tag) == (data, "demo", "")]
        assert [(cell.bundle_seed, cell.seed) for cell in plain] == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5)]
        assert [("adapted_day_old" in " ".join(cell.replay_words())) for cell in plain] == [True, False, False, False, False]
    assert len({cell.name for cell in cells}) == len(cells)


def test_a_cell_is_run_once_and_its_file_tells_models_ratios_and_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "source" / "tiny").mkdir(parents=True)
    work, results = tmp_path / "work", tmp_path / "results"
    log = prepare_tiny(tmp_path / "made", tiny_events())
    (work / "data").mkdir(parents=True)
    (tmp_path / "made" / "data").rename(work / "data" / "tiny")
    bundle_tiny(type(log).open(work / "data" / "tiny"), work / "bundles" / "tiny.demo.b1")
    (tmp_path / "plan.toml").write_text(PLAN)
    (cell,) = read_plan(tmp_path / "plan.toml")
    said: list[str] = []

    document = run_cell(cell, tmp_path / "source", work, results, said.append)

    assert [line.split()[1] for line in said] == ["replay"]
    assert "--keep-consumed" in document["commands"][1] and "--seed 3" in document["commands"][1]
    assert document == json.loads((results / "tiny.demo.b1.s3.json").read_text())
    assert document["events"] == EVENTS * 3 // 10 and isinstance(document["drift_alarms"], list)
    assert list(document["models"]) == ["static", "window_popularity", "switch", "adapted"]
    assert [ratio["denominator"] for ratio in document["ratios"]] == ["window_popularity", "switch", "static"]
    assert document["costs"]["replay"]["cpu_seconds"] > 0 and document["costs"]["pretrain"] is None
    assert cpu_seconds([document, document]) == [document["costs"]["replay"]["cpu_seconds"]] * 2

    main_args = ["bench", "quality", "--plan", str(tmp_path / "plan.toml"), "--results", str(results), "--json"]
    with pytest.raises(SystemExit, match="0"):
        main(main_args)
    assert json.loads(capsys.readouterr().out) == {"rows": [document], "missing": []}

    other = replace(cell, replay=(("slide", "2h"),))
    with pytest.raises(UserError, match="was made with other options than the plan has"):
        run_cell(other, tmp_path / "source", work, results, said.append)
    with pytest.raises(UserError, match="is of other commands than the plan has"):
        read_cell(results, other)

    run = work / "runs" / cell.name
    record = read_run(run)
    assert record is not None
    commits = [version.metrics for version in LatentStore.open(run / "store").active()]
    whole = ratio_interval(collect(commits, record.config.models), "adapted", "static")
    first = stratum_ratios(commits, "adapted", "static")["session_first"]
    later = stratum_ratios(commits, "adapted", "static")["session_later"]
    assert whole is not None
    assert min(first.ratio, later.ratio) <= whole.ratio <= max(first.ratio, later.ratio)
    n = {name: document["models"]["adapted"]["strata"][name] for name in ("session_first", "session_later")}
    base = {name: document["models"]["static"]["strata"][name] for name in ("session_first", "session_later")}
    assert first.ratio == pytest.approx(n["session_first"]["ndcg@10"] / base["session_first"]["ndcg@10"])
    assert later.ratio == pytest.approx(n["session_later"]["ndcg@10"] / base["session_later"]["ndcg@10"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("name =", "is not valid TOML"),
        ('name = "x"', "runs"),
        ('name = "x"\n[[runs]]\ndata = "a"\nbundle_seed = 1\nseeds = []', "runs.0.seeds"),
        ('name = "x"\n[[runs]]\ndata = "a"\nbundle_seed = 1\nseeds = [1, 1]', "give one of them a tag"),
    ],
)
def test_a_wrong_plan_is_told_in_one_line(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "plan.toml").write_text(content)
    with pytest.raises(UserError) as caught:
        read_plan(tmp_path / "plan.toml")
    assert told in str(caught.value) and "\n" not in str(caught.value)
