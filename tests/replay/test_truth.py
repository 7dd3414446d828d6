"""A replay beside the truth: the oracle ranks what the models rank, nobody beats it, and nothing else changes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dynmm_core.adapt.settings import DEFAULT_MODELS
from dynmm_core.datasets.checked import Options
from dynmm_core.datasets.prepare import prepare_folder
from dynmm_core.datasets.prepared import PreparedLog
from dynmm_core.errors import UserError
from dynmm_core.store.latents import LatentStore
from replay import runner
from replay.config import merge_options
from replay.outcome_text import outcome_lines, print_outcome
from replay.runner import Outcome, ReplayRequest, replay_log
from replay.truth import read_marks
from simulators.made import Made
from simulators.output import write_made
from simulators.schedule import DriftPlan
from simulators.settings import StreamSettings, cut_time_ms
from tests.replay.tiny import HOUR_MS, bundle_tiny

SETTINGS = StreamSettings(events=10_000, users=400, items=300, online_hours=20)
OPTIONS: dict[str, Any] = {"threads": 1}


@dataclass(frozen=True)
class Known:
    """Folders of a log whose truth is known, the prepared log, and its bundle."""

    made: Path
    data: Path
    bundle: Path

    @classmethod
    def make(cls, folder: Path, made: Made) -> "Known":
        write_made(folder / "made", made.table, made.truth)
        prepare_folder(folder / "made", folder / "data", Options(name="known"))
        bundle_tiny(PreparedLog.open(folder / "data"), folder / "bundle")
        return cls(folder / "made", folder / "data", folder / "bundle")

    def replay(self, out: Path, *, truth: Path | None = None, **options: Any) -> Outcome:
        merged = merge_options({**OPTIONS, **options}, {})
        return replay_log(ReplayRequest(data=self.data, bundle=self.bundle, out=out, options=merged, truth=truth))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return Known.make(tmp_path_factory.mktemp("known"), Made.drawn(SETTINGS))


@pytest.fixture(scope="module")
def told(known: Known, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A replay of all cheap models beside the oracle, where every known item is a candidate."""
    return known.replay(tmp_path_factory.mktemp("told") / "run", truth=known.made, keep_consumed=True)


def windows(run: Path) -> pa.Table:
    return pq.read_table(run / "windows.parquet")


def hashes(run: Path) -> list[str]:
    return [version.content_hash for version in LatentStore.open(run / "store").log()]


def test_no_model_beats_the_oracle_beyond_noise(told: Outcome) -> None:
    """No model's NDCG@10 is above the oracle's by more than three standard errors over windows."""
    assert list(told.metrics["models"]) == [*DEFAULT_MODELS, "oracle"]
    table = windows(told.run)
    ndcg = {name: table.filter(pc.equal(table["model"], name))["ndcg@10"].to_numpy() for name in told.metrics["models"]}
    for name in DEFAULT_MODELS:
        gain = ndcg[name] - ndcg["oracle"]
        assert len(gain) == SETTINGS.online_hours
        assert gain.sum() < 3 * np.sqrt((gain**2).sum()), name
    oracle = told.metrics["models"]["oracle"]
    assert 0.1 < oracle["ndcg@10"] < 0.9 and oracle["staleness_ms"] == 0


@pytest.mark.parametrize(
    "options",
    [{"slide": "15m"}, {"history": "version", "publish_delay": "40m", "slide": "3h", "from": str(cut_time_ms() + 13 * HOUR_MS)}],
    ids=["consumed items left out", "version history, delayed, behind the births"],
)
def test_the_oracle_ranks_what_the_models_rank(known: Known, tmp_path: Path, options: dict[str, Any]) -> None:
    few = {"models": "static,sequential_rule", "max_windows": 3}
    outcome = known.replay(tmp_path / "run", truth=known.made / "truth.json", **few, **options)

    models = outcome.metrics["models"]
    ranked = {name: {stratum: found["n"] for stratum, found in models[name]["strata"].items()} for name in models}
    assert ranked["oracle"] == ranked["static"]
    assert len(set(ranked["oracle"].values())) > 4
    assert models["oracle"]["ndcg@10"] > max(models[name]["ndcg@10"] for name in ("static", "sequential_rule"))


def test_the_truth_changes_no_version_and_no_other_figure(known: Known, told: Outcome, tmp_path: Path) -> None:
    plain = known.replay(tmp_path / "run", keep_consumed=True, max_windows=4)

    assert hashes(plain.run) == hashes(told.run)[:4]
    others = windows(told.run).filter(pc.not_equal(windows(told.run)["model"], "oracle"))
    assert others.slice(0, 4 * len(DEFAULT_MODELS)).equals(windows(plain.run))
    assert "drift" not in plain.metrics and not (plain.run / "drift.json").exists()


def test_a_resumed_run_has_the_same_oracle_and_takes_no_other_truth(
    known: Known, told: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"keep_consumed": True, "models": "static", "max_windows": 4}

    def killed(*_: Any) -> pa.Table:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "windows_table", killed)
        with pytest.raises(KeyboardInterrupt):
            known.replay(tmp_path / "run", truth=known.made, **short)
    document = json.loads((known.made / "truth.json").read_text())
    document["drifts"][0]["magnitude"] = 0.5
    (tmp_path / "other.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"--truth: .* was begun with truth \w{16}, truth \w{16} is asked"):
        known.replay(tmp_path / "run", truth=tmp_path / "other.json", **short)
    with pytest.raises(UserError, match=r"--truth: .* was begun with truth \w{16}, no truth is asked"):
        known.replay(tmp_path / "run", **short)
    resumed = known.replay(tmp_path / "run", truth=known.made, **short)

    asked = pc.is_in(windows(told.run)["model"], pa.array(["static", "oracle"]))
    assert windows(resumed.run).equals(windows(told.run).filter(asked).slice(0, 8).combine_chunks())


def test_the_run_keeps_the_marks_of_drift(known: Known, told: Outcome) -> None:
    truth = json.loads((known.made / "truth.json").read_text())
    marks = read_marks(told.run)

    assert marks is not None and marks.oracle and marks.truth == told.metrics["drift"]["truth"]
    assert [(drift.id, drift.kind, drift.start_ms, drift.levels) for drift in marks.drifts] == [
        (drift["id"], drift["kind"], drift["start_ms"], [tuple(level) for level in drift["levels"]]) for drift in truth["drifts"]
    ]
    assert not {"items", "users"} & set(json.loads((told.run / "drift.json").read_text())["drifts"][0])
    assert read_marks(known.data) is None


def test_figures_of_drift_are_in_the_metrics_and_below_the_table(told: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    figures = told.metrics["drift"]["models"]
    print_outcome(told)

    assert list(figures) == list(DEFAULT_MODELS)
    assert figures["static"]["share_of_gap"] == 0.0 < figures["adapted"]["share_of_gap"] < 1.0
    assert [drift["drift"] for drift in figures["adapted"]["drifts"]] == ["redealt", "births"]
    assert all(figures[name]["ndcg"] == pytest.approx(told.metrics["models"][name]["ndcg@10"]) for name in figures)
    oracle, events = told.metrics["models"]["oracle"]["ndcg@10"], told.metrics["events"]
    assert figures["static"]["regret"] == pytest.approx(events * (oracle - figures["static"]["ndcg"]))
    shown = capsys.readouterr().out
    assert "how the drifts were followed" in shown and "recovery: births" in shown


def test_a_log_that_drifts_were_put_into_has_marks_and_no_oracle(known: Known, tmp_path: Path) -> None:
    plans = (DriftPlan(id="mixed", kind="abrupt", start=0.5),)
    injected = Known.make(tmp_path, Made.injected(known.data, plans, 3))
    outcome = injected.replay(tmp_path / "run", truth=injected.made, models="static", max_windows=2)

    marks = read_marks(outcome.run)
    assert marks is not None and not marks.oracle and [drift.id for drift in marks.drifts] == ["mixed"]
    assert list(outcome.metrics["models"]) == ["static"] and outcome.metrics["drift"]["oracle"] is False
    assert any(line.startswith("no oracle: drifts were put into a log") for line in outcome_lines(outcome, {}))


def test_a_truth_that_does_not_fit_is_refused_before_anything_is_written(known: Known, tmp_path: Path) -> None:
    other = Made.drawn(SETTINGS.model_copy(update={"seed": 1}))
    write_made(tmp_path / "other", other.table, other.truth)
    with pytest.raises(UserError, match="is the truth of another log"):
        known.replay(tmp_path / "run", truth=tmp_path / "other")
    with pytest.raises(UserError, match="--max-train-events: 50 leaves out events of a slide of "):
        known.replay(tmp_path / "run", truth=known.made, max_train_events="50")
    assert not (tmp_path / "run").exists()
