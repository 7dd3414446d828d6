"""The adapted model with the versions of a day before: as a day's delay would have it, and of no influence on what is learned."""

from dataclasses import replace

import pytest

from dynmm_core.adapt.cpu_meter import by_model
from dynmm_core.adapt.loop import AdaptLoop
from dynmm_core.adapt.strata import WindowRow
from dynmm_core.adapt.tail import slides
from dynmm_core.model.bundle import CutState
from dynmm_core.times import DAY_MS
from tests.unit.test_adapt_loop import CUT, HOUR_MS, START_MS, loop_over, stream

MODELS = ("static", "adapted_latents", "adapted_day_old", "adapted")
SLOWER, SLIDE_MS = 3, 3 * HOUR_MS  # the stream's forty hours become five days, the last thirty hours of them online


@pytest.fixture(scope="module")
def log() -> CutState:
    quick = stream(events=1_600)
    return replace(quick, event_time_ms=START_MS + (quick.event_time_ms - START_MS) * SLOWER)


def steps(loop: AdaptLoop, log: CutState, slide_ms: int = SLIDE_MS) -> list[WindowRow]:
    return [row for slide in slides(log, CUT, slide_ms) for row in loop.step(slide).windows]


def of_model(rows: list[WindowRow], model: str) -> list[tuple[object, ...]]:
    return [(row.window_start_ms, row.stratum, row.n, row.sums, row.staleness_ms) for row in rows if row.model == model]


@pytest.mark.parametrize(
    ("delay_ms", "slide_ms"),
    [(20 * 60_000, SLIDE_MS), (0, 5 * HOUR_MS)],
    ids=["after twenty minutes", "a day is no whole number of slides"],
)
def test_it_ranks_as_if_versions_came_a_day_late_where_the_weights_are_the_same(
    log: CutState, delay_ms: int, slide_ms: int
) -> None:
    ours = steps(loop_over(log, models=MODELS[2:], learn_head=False, publish_delay_ms=delay_ms), log, slide_ms)
    late = steps(loop_over(log, models=("adapted",), learn_head=False, publish_delay_ms=delay_ms + DAY_MS), log, slide_ms)

    assert of_model(ours, "adapted_day_old") == of_model(late, "adapted") != of_model(ours, "adapted")


def test_a_head_that_learns_from_what_is_served_has_other_weights_behind_a_delay(log: CutState) -> None:
    """So that the figures differ, too; the adapter learns from the log alone, and has the same ones."""
    ours, late = loop_over(log, models=MODELS[2:]), loop_over(log, models=("adapted",), publish_delay_ms=DAY_MS)
    steps(ours, log)
    steps(late, log)

    assert ours.learners.adapter.to_bytes() == late.learners.adapter.to_bytes()
    assert ours.learners.head.to_bytes() != late.learners.head.to_bytes()


def test_it_changes_neither_what_is_learned_nor_any_other_figure(log: CutState) -> None:
    plain, both = loop_over(log, models=("static", "adapted_latents", "adapted")), loop_over(log, models=MODELS)

    assert [row for row in steps(both, log) if row.model != "adapted_day_old"] == steps(plain, log)
    assert both.learners.to_bytes() == plain.learners.to_bytes()


def test_it_sees_the_bundle_for_a_day_and_then_what_was_served_the_day_before(log: CutState) -> None:
    loop = loop_over(log, models=MODELS)
    first_ms = loop.activity.as_of_ms
    served: dict[int, int] = {}
    for slide in slides(log, CUT, SLIDE_MS):
        start_ms = slide.slide_end_ms - SLIDE_MS
        assert loop._aged is not None
        (request,) = loop._requests(slide)
        served[start_ms] = request.published.activity.as_of_ms
        before = max((at for at in served if at <= start_ms - DAY_MS), default=None)
        (aged,) = loop._aged.runs(request)
        assert aged.published.activity.as_of_ms == (first_ms if before is None else served[before])
        assert (aged.start, aged.stop) == (
            request.start,
            request.stop,
        ) and aged.view.length.tolist() == request.view.length.tolist()
        loop.step(slide)
        assert len(loop._aged) <= DAY_MS // SLIDE_MS + 2
    assert len(served) > DAY_MS // SLIDE_MS + 2


def test_its_update_is_the_adapted_model_s() -> None:
    spent = {"the adapter's update": 1.0, "the head's update": 2.0, "counting and refreshing": 4.0}
    assert by_model(spent, MODELS) == {"static": 0, "adapted_latents": 5.0, "adapted_day_old": 7.0, "adapted": 7.0}
