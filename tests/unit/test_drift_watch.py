"""Drift detection by hand: what signals say, what is expected of them, and which alarm comes when."""

import json
import math
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from dynmm_core.metrics.drift.baseline import Baseline
from dynmm_core.metrics.drift.detectors import DETECTORS, Detector, build_detector, parse_detectors
from dynmm_core.metrics.drift.facts import SIGNALS, SlideFacts, item_sums, scaled, unscaled
from dynmm_core.metrics.drift.watch import MIN_EVENTS, Alarm, DriftWatch
from dynmm_core.randomness import derive_seed
from dynmm_core.times import DAY_MS

HOUR_MS = 3_600_000
seed_of = partial(derive_seed, 0)


def slide(hour: int, events: int = 400, **facts: float) -> SlideFacts:
    """The facts of an hour; shares as told, of that many events."""
    return SlideFacts(hour * HOUR_MS, (hour + 1) * HOUR_MS, events=events, **facts)  # type: ignore[arg-type]


def of_items(items: list[int], day: list[int]) -> SlideFacts:
    """The facts of a slide with these events, behind a day of so many events of each item; index 0 is padding."""
    return SlideFacts(0, HOUR_MS, **item_sums(np.array(items), np.ones(len(items), np.int64), np.array([0, *day])))


def values(facts: SlideFacts) -> dict[str, float]:
    return {name: signal.value for name, signal in facts.signals().items()}


def test_overlap_and_entropy_by_hand() -> None:
    # Of the day's six events 4 and 2 are of the items: <q, q> without bias is (12 + 2) / 30.
    facts = of_items([1, 1, 2, 3], [4, 2])
    assert (facts.events, facts.pairs, facts.same_pairs) == (4, 12, 2)
    assert facts.overlap == pytest.approx(2 * 4 / 6 + 2 / 6) and facts.full_overlap == pytest.approx(4 * 14 / 30)
    assert values(facts) == {"item_overlap": pytest.approx(25 / 28), "item_entropy": pytest.approx(math.log(6))}


def test_overlap_is_nothing_where_all_items_are_new_and_unknown_without_a_day_before() -> None:
    assert values(of_items([3, 4], [5, 5]))["item_overlap"] == 0.0
    assert values(of_items([1, 1], [1, 1])) == {"item_entropy": pytest.approx(0.0)}
    assert values(of_items([1], [3, 3])).keys() == {"item_overlap"}


@pytest.mark.parametrize("events", [20, 2_000])
def test_neither_overlap_nor_entropy_hangs_on_how_many_events_there_are(events: int) -> None:
    random = np.random.default_rng(5)
    shares = np.array([0.5, 0.3, 0.1, 0.1])
    found = [of_items((1 + random.choice(4, events, p=shares)).tolist(), random.multinomial(300, shares).tolist())
             for _ in range(2_000 if events == 20 else 200)]  # fmt: skip
    joined = SlideFacts.joined(found)
    assert values(joined)["item_overlap"] == pytest.approx(1.0, abs=0.01)
    assert values(joined)["item_entropy"] == pytest.approx(-math.log((shares**2).sum()), abs=0.02)


def test_means_and_shares_of_joined_slides_are_those_of_all_their_events() -> None:
    first = slide(0, seen=100, new=10, ranked=80, ndcg=20.0, sought=80, found=60)
    second = slide(1, seen=300, new=0, ranked=20, ndcg=10.0)
    joined = SlideFacts.joined([first, second])
    assert (joined.start_ms, joined.end_ms, joined.events) == (0, 2 * HOUR_MS, 800)
    assert values(joined) == {"ndcg": 0.3, "candidate_recall": 0.75, "new_items": 0.025}
    assert joined.signals()["ndcg"].n == 100
    assert SlideFacts.from_json(json.loads(json.dumps(joined.to_json()))) == joined


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_scaled_signal_comes_back(signal: str) -> None:
    assert unscaled(signal, scaled(signal, 0.3)) == pytest.approx(0.3)


def test_the_mean_of_the_day_before_is_expected_of_a_signal_that_knows_no_time_of_day() -> None:
    baseline = Baseline()
    assert baseline.compare(0, 1.0, 100) is None
    found = [baseline.compare(hour * HOUR_MS, 1.0 + (hour >= 30), 100) for hour in range(1, 100)]
    expected = [one.expected for one in found if one is not None]
    assert expected[:30] == [1.0] * 30 and expected[41] == pytest.approx(1.5) and expected[53:] == [2.0] * 46
    assert not any(one.anew for one in found if one is not None)
    gap = baseline.compare(100 * DAY_MS, 7.0, 100)
    assert gap is not None and gap.expected == 2.0


def test_the_same_time_of_the_days_before_is_expected_of_a_signal_that_swings_by_the_day() -> None:
    """
    day 0:  0 1 2 … 23      day 1: 100 101 …      day 2: from its first slide on the mean of both, and of the days between
    """
    baseline = Baseline()
    for day in range(2):
        for hour in range(24):
            found = baseline.compare(day * DAY_MS + hour * HOUR_MS, 10.0 * hour + day, 100)
            assert found is None or not found.anew
    found = baseline.compare(2 * DAY_MS, 2.0, 100)
    assert found is not None and found.anew and found.expected == 0.5
    found = baseline.compare(2 * DAY_MS + 5 * HOUR_MS, 50.0, 100)
    assert found is not None and not found.anew and found.expected == 50.5
    # Half an hour later the slide that held that time is meant; eight days later the first day is forgotten.
    found = baseline.compare(2 * DAY_MS + 5 * HOUR_MS + 1_800_000, 0.0, 100)
    assert found is not None and found.expected == 50.5
    found = baseline.compare(8 * DAY_MS + 5 * HOUR_MS, 0.0, 100)
    assert found is not None and found.expected == pytest.approx((51 + 50 + 5 * 0) / 7)


def test_noise_is_what_was_usual_and_never_less_than_that_of_so_few_events() -> None:
    baseline = Baseline()
    scores = []
    for hour in range(40):
        found = baseline.compare(hour * HOUR_MS, 0.1 * (-1) ** hour, 10_000)
        scores.append(None if found is None else found.score)
    assert scores[:9] == [None] * 9 and scores[9] == pytest.approx(-0.1 / (1.4826 * 0.1), rel=0.2)
    found = baseline.compare(40 * HOUR_MS, 9.0, 10_000)
    assert found is not None and found.score == 5.0
    few = Baseline()
    for hour in range(30):
        few.compare(hour * HOUR_MS, 0.5, 25)
    found = few.compare(30 * HOUR_MS, 0.6, 25)
    assert found is not None and found.score == pytest.approx(0.1 / (0.5 / 5))


@pytest.mark.parametrize(("name", "latest"), [("adwin", 6), ("page_hinkley", 5), ("kswin", 18)])
def test_each_detector_suspects_a_step_and_begins_anew(name: str, latest: int) -> None:
    random = np.random.default_rng(1)
    calm, moved = random.normal(0, 1, 100), random.normal(3, 1, 60)
    detector = build_detector(name, "ndcg", seed_of)  # type: ignore[arg-type]
    alarms = [place for place, value in enumerate([*calm, *moved]) if detector.suspects(float(value), place)]
    assert len(alarms) == 1 and 100 < alarms[0] <= 100 + latest


def test_what_kswin_draws_is_named_by_moment_signal_and_seed() -> None:
    random = np.random.default_rng(2)
    stream = random.normal(0, 1, 600) + np.repeat([0.0, 1.8, 0.0, 1.8, 0.0, 1.8], 100)

    def alarms(detector: Detector, from_ms: int = 0) -> list[int]:
        return [place for place, value in enumerate(stream) if detector.suspects(float(value), from_ms + place)]

    first = alarms(build_detector("kswin", "ndcg", seed_of))
    assert first and first == alarms(build_detector("kswin", "ndcg", seed_of))
    others = [
        alarms(build_detector("kswin", "item_overlap", seed_of)),
        alarms(build_detector("kswin", "ndcg", seed_of), 10**6),
        alarms(build_detector("kswin", "ndcg", partial(derive_seed, 1))),
    ]
    assert any(other != first for other in others)


def noisy(hours: Iterable[int], ndcg_from: int | None = None) -> list[SlideFacts]:
    """Hours with a daily swing of 0.2 and noise; from an hour on the ranking is worse by 0.1."""
    found = []
    for hour in hours:
        random = np.random.default_rng(hour)
        mean = 0.4 + 0.1 * math.sin(hour * math.pi / 12) - 0.1 * (ndcg_from is not None and hour >= ndcg_from)
        new = int(random.poisson(4))
        found.append(slide(hour, seen=400, new=new, ranked=400, ndcg=400 * (mean + random.normal(0, 0.02))))
    return found


def judged(facts: Iterable[SlideFacts], detectors: tuple[str, ...] = DETECTORS) -> list[Alarm]:
    watch = DriftWatch(detectors, seed_of)  # type: ignore[arg-type]
    return [alarm for one in facts for alarm in watch.observe(one).alarms]


def test_days_alone_raise_no_alarm_and_a_worse_ranking_does() -> None:
    assert judged(noisy(range(24 * 10))) == []
    alarms = judged(noisy(range(24 * 8), ndcg_from=150))
    assert {alarm.signal for alarm in alarms} == {"ndcg"}
    first = alarms[0]
    assert 150 < first.slide_end_ms // HOUR_MS <= 156 and first.value < first.expected - 0.05
    assert {alarm.detector for alarm in alarms} == set(DETECTORS)
    assert {alarm.detector for alarm in judged(noisy(range(24 * 8), ndcg_from=150), ("kswin",))} == {"kswin"}


def test_small_slides_are_joined_until_they_hold_enough_events() -> None:
    watch = DriftWatch(DETECTORS, seed_of)
    told = [watch.observe(slide(hour, events=40, seen=40, new=hour)) for hour in range(4)]
    assert [one.signals for one in told] == [{}, {}, {"new_items": 3 / 120}, {}]
    assert watch.observe(slide(4, events=MIN_EVENTS, seen=40, new=0)).signals == {"new_items": 3 / 80}


def test_the_same_facts_give_the_same_alarms_also_by_way_of_json() -> None:
    facts = noisy(range(200), ndcg_from=150)
    again = [SlideFacts.from_json(json.loads(json.dumps(one.to_json()))) for one in facts]
    assert judged(facts) == judged(again) != []


def test_a_slide_nobody_ranked_tells_nothing_of_ranking() -> None:
    facts = [replace(one, ranked=0, ndcg=0.0) for one in noisy(range(100), ndcg_from=50)]
    assert judged(facts) == []


@pytest.mark.parametrize(("given", "read"), [
    ("off", ()), ("kswin, adwin", ("adwin", "kswin")), (["page_hinkley"], ("page_hinkley",)), ((), ()),
])  # fmt: skip
def test_detectors_are_read_from_names(given: object, read: tuple[str, ...]) -> None:
    assert parse_detectors(given) == read


@pytest.mark.parametrize(("given", "told"), [
    ("ddm", "'ddm' is no detector; choose from adwin, page_hinkley, kswin, or off"),
    ("", "'' is no detector"), ("adwin,adwin", "'adwin, adwin' must name each detector once"),
    ("off,adwin", "'off' is no detector"), ([], "'nothing' must name each detector once"), (3, "3 is no list of detectors"),
])  # fmt: skip
def test_other_names_are_refused(given: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_detectors(given)


def test_river_is_imported_with_the_first_judgement_alone() -> None:
    code = "import sys, dynmm_core.metrics.drift.watch; sys.exit(bool({'river', 'scipy'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_deviation_is_limited_on_either_side() -> None:
    for far, limit in ((9.0, 5.0), (-9.0, -5.0)):
        baseline = Baseline()
        for hour in range(20):
            baseline.compare(hour * HOUR_MS, 0.1 * (-1) ** hour, 10_000)
        found = baseline.compare(20 * HOUR_MS, far, 10_000)
        assert found is not None and found.score == limit
