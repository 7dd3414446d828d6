"""`dynmm bench adapt` on a tiny catalogue: the stream, one document, the promised exit codes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.adapt import report
from benchmarks.adapt.floor import floor_bytes
from benchmarks.adapt.inputs import PAST_EVENTS_PER_HOUR, PAST_HOURS, StreamShape, draw_stream
from benchmarks.adapt.job import Case, Committer, new_loop
from benchmarks.adapt.peaks import PARTS, Peaks
from benchmarks.adapt.run import STAGES
from dynmm_core.adapt.laps import Stage
from dynmm_core.cli import main
from dynmm_core.model.features import ITEM_SUMMARY_DIM, USER_SUMMARY_DIM
from dynmm_core.times import HOUR_MS

TINY = ("--items", "200", "--items", "400", "--users", "300", "--events", "40", "--slides", "1", "--latent-dim", "8")
SHAPE = StreamShape(items=6_000, users=300, events=50, slides=3)


@pytest.fixture(autouse=True)
def short_past(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.adapt.inputs.PAST_EVENTS_PER_HOUR", 10)


def run(*arguments: str) -> int:
    try:
        main(["bench", "adapt", *arguments])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_the_stream_is_skewed_drifts_and_is_drawn_by_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.adapt.inputs.PAST_EVENTS_PER_HOUR", PAST_EVENTS_PER_HOUR)
    log, cut_row = draw_stream(SHAPE, 7)
    assert cut_row == PAST_HOURS * PAST_EVENTS_PER_HOUR and len(log.item_idx) == cut_row + 150
    assert (np.diff(log.event_time_ms) >= 0).all()
    assert log.event_time_ms[cut_row - 1] < log.event_time_ms[cut_row] // HOUR_MS * HOUR_MS
    assert log.item_idx.min() >= 1 and log.item_idx.max() <= SHAPE.items
    days = np.array_split(log.item_idx[:cut_row], 7)
    tops = [set(np.argsort(-np.bincount(day, minlength=SHAPE.items + 1))[:20].tolist()) for day in (days[0], days[-1])]
    assert not tops[0] & tops[1]
    first = np.sort(np.bincount(days[0]))[::-1]
    assert first[:40].sum() > 0.3 * first.sum()
    again, other = draw_stream(SHAPE, 7)[0], draw_stream(SHAPE, 8)[0]
    assert np.array_equal(log.item_idx, again.item_idx) and not np.array_equal(log.item_idx, other.item_idx)


def test_every_stage_of_a_slide_is_reported_and_what_is_committed_is_what_was_published(tmp_path: Path) -> None:
    case = Case(SHAPE, 8, ("adapted",), torch.device("cpu"))
    loop, (slide, *_) = new_loop(case, 0)
    seen: list[Stage] = []
    committer = Committer(loop, case, tmp_path)
    loop.lap, before = seen.append, loop.activity.active
    loop.step(slide)
    rows = committer.commit(slide)
    assert set(seen) == set(STAGES)
    assert seen.index("user states") < seen.index("ranking") < seen.index("update") < seen.index("refresh") < seen.index("commit")
    assert rows == (before | loop.activity.active).sum() + len(set(slide.user_idx.tolist()))


def test_a_floor_counts_each_input_and_each_output_once() -> None:
    loop, _ = new_loop(Case(SHAPE, 8, ("adapted",), torch.device("cpu")), 0)
    weights = sum(one.numel() for one in loop.learners.adapter.serving.item.parameters())
    more = floor_bytes(loop, 40, 11, 5)["refresh"] - floor_bytes(loop, 40, 10, 5)["refresh"]
    assert more == 4 * (8 + 8 + ITEM_SUMMARY_DIM + 8)
    assert floor_bytes(loop, 40, 0, 5) == {**floor_bytes(loop, 40, 10, 5), "refresh": 4 * weights}
    one_more = floor_bytes(loop, 2_001, 0, 5)["update"] - floor_bytes(loop, 2_000, 0, 5)["update"]
    assert one_more == 4 * (8 + 8 + USER_SUMMARY_DIM + 8 + 8 + ITEM_SUMMARY_DIM)  # its user and its item; the head takes no more
    assert floor_bytes(loop, 40, 10, 5)["commit"] == 2 * 5 * 8 * 4


def test_a_tiny_catalogue_gives_one_document_that_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TINY, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [size["items"] for size in document["sizes"]] == [200, 400]
    assert document["cuda"] == "unmeasured"
    assert set(document["sizes"][0]["seconds"]) == set(STAGES)
    assert all(second > 0 for size in document["sizes"] for second in size["seconds"].values())
    assert all(list(size["peak_mb"]) == list(PARTS) and min(size["peak_mb"].values()) > 0 for size in document["sizes"])
    assert [check["passed"] for check in document["checks"]][:3] == [None] * 3
    assert run(*TINY, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert [size["digest"] for size in document["sizes"]] == [size["digest"] for size in again["sizes"]]


def test_a_broken_bound_ends_with_3_behind_its_tables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "BOUND_ITEMS", 200)
    monkeypatch.setattr(report, "BOUNDS", {("ranking",): 1e-9})
    assert run(*TINY) == 0
    assert run(*TINY, "--check") == 3
    shown = capsys.readouterr()
    assert "ranking, s per thousand events" in shown.err
    assert all(stage in shown.out for stage in STAGES)


def test_models_are_given_with_commas_between(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TINY, "--models", "adapted,static", "--json") == 0
    assert json.loads(capsys.readouterr().out)["models"] == ["static", "adapted"]


def test_without_a_gpu_it_says_unmeasured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run("--device", "cuda", "--check") == 0
    assert "unmeasured" in capsys.readouterr().out
    assert run("--device", "cuda", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sizes"] == [] and document["cuda"] == "unmeasured"
    assert all(check["passed"] is None for check in document["checks"])


def test_refresh_is_held_against_the_catalogue_by_active_item() -> None:
    def at(items: int, active: float, seconds: float) -> report.Measured:
        case = Case(replace(SHAPE, items=items), 8, ("adapted",), torch.device("cpu"))
        spent = {**dict.fromkeys(STAGES, 0.1), "refresh": seconds}
        return report.Measured(case, spent, 1.0, 1_000.0, active, 1.0, 1.0, 1.0, {}, {}, "")

    flat = report.checks([at(50_000, 100, 0.01), at(1_000_000, 200, 0.02)])
    assert [(check.value, check.bound) for check in flat[:3]] == [(pytest.approx(0.21), 0.5), (0.1, 1.5), (0.1, 0.5)]
    assert flat[-1].to_json()["passed"] is True
    assert report.checks([at(50_000, 100, 0.01), at(1_000_000, 100, 0.02)])[-1].to_json()["passed"] is False


@pytest.mark.parametrize(
    ("option", "value"),
    [("--items", "10"), ("--events", "0"), ("--slides", "0"), ("--users", "0"), ("--latent-dim", "1"), ("--seed", "-1"),
     ("--device", "tpu"), ("--models", "static,foo"), ("--models", "item_knn")],
)  # fmt: skip
def test_a_wrong_option_is_named(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(option, value) == 2
    shown = capsys.readouterr().err
    assert option in shown and shown.count("\n") == 1


def test_the_peak_of_a_part_is_its_own_or_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = Peaks(torch.device("cpu"))
    large = np.ones(40 << 20)
    del large
    peaks.end("loading")
    peaks.end("slides")
    loading, slides = peaks.found["loading"], peaks.found["slides"]
    assert loading is not None and (slides is None or slides < loading - 200)
    monkeypatch.setattr("benchmarks.adapt.peaks.reset_peak", lambda: False)
    unknown = Peaks(torch.device("cpu"))
    for part in PARTS:
        unknown.end(part)
    assert unknown.found["loading"] is not None and unknown.found["slides"] is None


def test_the_freezing_of_tables_is_counted_with_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, (slide, *_) = new_loop(Case(SHAPE, 8, ("adapted",), torch.device("cpu")), 0)
    seen: list[str] = []
    loop.lap = seen.append
    frozen = type(loop.state.pairs).frozen
    monkeypatch.setattr(type(loop.state.pairs), "frozen", lambda self, *at: seen.append("frozen") or frozen(self, *at))
    loop.step(slide)
    assert "frozen" in seen and "features" in seen[len(seen) - seen[::-1].index("frozen") :] and seen[-1] == "refresh"
